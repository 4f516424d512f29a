"""tuning/fitting.py and training/micro_batch.py: what becomes of a trial whose batch does not fit."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.errors import DoesNotFitError
from orchestrator.record import EpochMetrics
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.loop import Outcome, Settings, train
from orchestrator.training.micro_batch import find_fitting
from orchestrator.training.objective import Objective
from orchestrator.training.shards import Shards
from orchestrator.trial import Trial
from orchestrator.tuning.fitting import train_that_fits


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Afterwards a step of more images than this runs out of memory."""
    original = Objective.__call__

    def allow(most: int) -> None:
        def call(self: Objective, images: torch.Tensor, targets: torch.Tensor):
            if len(images) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ...")
            return original(self, images, targets)

        monkeypatch.setattr(Objective, "__call__", call)

    return allow


def run(
    trial: Trial, folder: Path, policy=None, size: int | None = None
) -> tuple[list[EpochMetrics], Outcome, list[int]]:
    store, sizes = CheckpointStore(folder), []

    def start(asked: Trial) -> Generator[EpochMetrics, None, Outcome]:
        return train(asked, checkpoints=store, start_from=store.load_newest())

    training = train_that_fits(trial, start, settings=Settings(), policy=policy, size=size, on_halved=sizes.append)
    rows = []
    while True:
        try:
            rows.append(next(training))
        except StopIteration as stop:
            return rows, stop.value, sizes


@pytest.mark.parametrize(("told", "is_memory"), [("CUBLAS_STATUS_ALLOC_FAILED", True), ("shapes differ", False)])
def test_a_size_that_a_library_has_no_memory_for_does_not_fit(
    tiny_trial: Trial, told: str, is_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Objective.__call__

    def call(self: Objective, images: torch.Tensor, targets: torch.Tensor):
        if len(images) > 16:
            raise RuntimeError(f"CUDA error: {told}")
        return original(self, images, targets)

    monkeypatch.setattr(Objective, "__call__", call)
    if is_memory:
        assert find_fitting(one_epoch(tiny_trial), Settings(), 64) == 16
    else:
        with pytest.raises(RuntimeError, match=told):
            find_fitting(one_epoch(tiny_trial), Settings(), 64)


def one_epoch(trial: Trial, attention: str = "self") -> Trial:
    return replace(
        trial, model=replace(trial.model, attention=attention), train=replace(trial.train, epochs=1, batch_size=64)
    )


def test_the_largest_half_that_fits_gives_the_same_training_but_for_rounding(
    tiny_trial: Trial, tmp_path: Path, memory: Callable[[int], None]
) -> None:
    trial = one_epoch(tiny_trial)
    whole_rows, whole, _ = run(trial, tmp_path / "whole")
    memory(20)
    rows, outcome, sizes = run(trial, tmp_path / "halved")
    assert sizes == [16]
    assert rows[0].train_loss == pytest.approx(whole_rows[0].train_loss, rel=1e-5)
    assert outcome.test_loss == pytest.approx(whole.test_loss, rel=1e-4)
    asked = replace(trial, train=replace(trial.train, micro_batch_size=16))
    assert run(asked, tmp_path / "asked")[1].weights == outcome.weights


def test_what_an_earlier_start_came_down_to_is_not_tried_again(
    tiny_trial: Trial, tmp_path: Path, memory: Callable[[int], None]
) -> None:
    memory(20)
    assert run(one_epoch(tiny_trial), tmp_path, size=16)[2] == []


@pytest.mark.slow
def test_memory_that_runs_out_later_costs_no_finished_epoch(
    tiny_trial: Trial, tmp_path: Path, memory: Callable[[int], None]
) -> None:
    trial = replace(tiny_trial, train=replace(tiny_trial.train, epochs=2))
    store, seen = CheckpointStore(tmp_path), []

    def start(asked: Trial) -> Generator[EpochMetrics, None, Outcome]:
        return train(asked, checkpoints=store, start_from=store.load_newest())

    sizes: list[int] = []
    for row in train_that_fits(trial, start, settings=Settings(), policy=None, size=None, on_halved=sizes.append):
        seen.append(row.epoch)
        memory(40)
    assert (seen, sizes) == ([1, 2], [32])


@pytest.mark.slow
def test_batch_statistics_are_not_trained_on_smaller_batches_unasked(
    tiny_trial: Trial, tmp_path: Path, memory: Callable[[int], None]
) -> None:
    trial = one_epoch(tiny_trial, "reattention")
    memory(10)
    with pytest.raises(DoesNotFitError, match=r"64 images .*2\.00 GiB\.\); micro_batch_size 8 or less"):
        run(trial, tmp_path / "unasked")
    assert run(trial, tmp_path / "asked", policy="halve")[2] == [8]


def test_fail_means_fail_and_names_what_fits(tiny_trial: Trial, tmp_path: Path, memory: Callable[[int], None]) -> None:
    memory(63)
    with pytest.raises(DoesNotFitError, match=r"micro_batch_size 32 or less would fit.*resources\.oom is fail"):
        run(one_epoch(tiny_trial), tmp_path, policy="fail")


@pytest.mark.slow
def test_where_one_image_does_not_fit_nothing_does(tiny_trial: Trial, memory: Callable[[int], None]) -> None:
    memory(0)
    assert find_fitting(one_epoch(tiny_trial), Settings(), 64) is None


def test_other_errors_are_not_taken_for_it(tiny_trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "__call__", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(one_epoch(tiny_trial), tmp_path)


def test_beside_other_workers_no_smaller_size_is_tried(tiny_trial: Trial) -> None:
    def start(asked: Trial) -> Generator[EpochMetrics, None, Outcome]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        yield

    training = train_that_fits(
        tiny_trial,
        start,
        settings=Settings(shards=Shards(0, 2)),
        policy="halve",
        size=None,
        on_halved=lambda size: None,
    )
    with pytest.raises(DoesNotFitError, match=r"one of 2 workers does not fit .* raise resources\.workers"):
        next(training)
