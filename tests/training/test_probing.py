"""Probing in a training: when it happens, and that the training does not notice."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import StoppedError
from orchestrator.grids.sweep_spec import Probe
from orchestrator.record import EpochMetrics
from orchestrator.training import probing
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.loop import Outcome, Settings, train
from orchestrator.training.probe_store import ProbeStore
from orchestrator.training.probing import probe_rows
from orchestrator.trial import Trial

PROBE = Probe(images=12, epochs=(1,), skip_images=8)
TIMES = {"probe_time_s", "skip_time_s"}


def run(trial: Trial, probes: ProbeStore | None, **options) -> tuple[list[EpochMetrics], Outcome]:
    """All epochs and the outcome, with `PROBE`."""
    rows, generator = [], train(trial, settings=Settings(probe=PROBE), probes=probes, **options)
    while True:
        try:
            rows.append(next(generator))
        except StopIteration as stop:
            return rows, stop.value


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Trial], ProbeStore]:
    """The probes of a trial that ran through, trained once."""

    @cache
    def probes_of(trial: Trial) -> ProbeStore:
        store = ProbeStore(tmp_path_factory.mktemp("uninterrupted"))
        run(trial, store)
        return store

    return probes_of


def stop_at(step: int) -> Callable[[], bool]:
    asked = iter(range(10**9))
    return lambda: next(asked) >= step


def variants(trial: Trial) -> dict[str, Trial]:
    """Softmax attention, and Re-attention with everything that draws random numbers or keeps an average."""
    model = replace(trial.model, attention="reattention", drop_path_rate=0.1, drop_rate=0.1, attn_drop_rate=0.1)
    recipe = replace(trial.train, ema_decay=0.9, mixup=0.2, random_erasing=0.3)
    return {"self": trial, "reattention": replace(trial, model=model, train=recipe)}


def assert_equal(found: ProbeStore, expected: ProbeStore) -> None:
    assert len(found.moments()) == len(expected.moments())
    for arrays, others in zip(found.moments(), expected.moments(), strict=True):
        for name in arrays.keys() - TIMES:
            np.testing.assert_array_equal(arrays[name], others[name], err_msg=name)


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_a_probed_trial_is_bit_equal_to_one_that_is_not(tiny_trial: Trial, tmp_path: Path, attention: str) -> None:
    trial = variants(tiny_trial)[attention]
    torch.manual_seed(0)
    rows, outcome = run(trial, None)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    probed_rows, probed = run(trial, ProbeStore(tmp_path))
    assert torch.equal(torch.get_rng_state(), state)
    assert [row.numbers() for row in probed_rows] == [row.numbers() for row in rows]
    assert probed.weights == outcome.weights
    assert (probed.test_loss, probed.is_correct.tolist()) == (outcome.test_loss, outcome.is_correct.tolist())
    assert (tmp_path / "0.npz").exists()


@pytest.mark.parametrize("attention", ["self", "reattention"])
@pytest.mark.parametrize("step", [7, 20])
def test_an_interrupted_trial_has_the_probes_of_an_uninterrupted_one(
    tiny_trial: Trial, tmp_path: Path, uninterrupted: Callable[[Trial], ProbeStore], attention: str, step: int
) -> None:
    trial = variants(tiny_trial)[attention]
    whole, parts = uninterrupted(trial), ProbeStore(tmp_path / "parts")
    checkpoints = CheckpointStore(tmp_path / "checkpoints")
    with pytest.raises(StoppedError):
        run(trial, parts, checkpoints=checkpoints, should_stop=stop_at(step))
    run(trial, ProbeStore(parts.folder), checkpoints=checkpoints, start_from=checkpoints.load_newest())
    assert [float(arrays["epoch"]) for arrays in whole.moments()] == [0.0, 1.0, 2.0]
    assert_equal(parts, whole)


def test_a_trial_that_began_without_probes_gets_its_untrained_network_again(
    tiny_trial: Trial, tmp_path: Path, uninterrupted: Callable[[Trial], ProbeStore]
) -> None:
    trial = variants(tiny_trial)["reattention"]
    late = ProbeStore(tmp_path / "late")
    checkpoints = CheckpointStore(tmp_path / "checkpoints")
    with pytest.raises(StoppedError):
        run(trial, None, checkpoints=checkpoints, should_stop=stop_at(7))
    run(trial, late, checkpoints=checkpoints, start_from=checkpoints.load_newest())
    assert_equal(late, uninterrupted(trial))


def test_the_weights_that_are_evaluated_are_probed(tiny_trial: Trial, tmp_path: Path) -> None:
    """With a moving average that never moves, the final model is the untrained one."""
    trial = replace(tiny_trial, train=replace(tiny_trial.train, ema_decay=1 - 1e-12))
    run(trial, ProbeStore(tmp_path))
    moments = ProbeStore(tmp_path).moments()
    for name in ("effective_rank", "cka", "map_similarity.softmax.patch.raw"):
        np.testing.assert_allclose(moments[2][name], moments[0][name], rtol=1e-5, err_msg=name)


def test_blocks_are_skipped_in_the_final_model_only(tiny_trial: Trial, tmp_path: Path) -> None:
    run(tiny_trial, ProbeStore(tmp_path))
    moments = ProbeStore(tmp_path).moments()
    assert [float(arrays["num_skip_images"]) for arrays in moments] == [0.0, 0.0, 8.0]
    assert [bool(np.isnan(arrays["skip_acc_drop"]).all()) for arrays in moments] == [True, True, False]
    assert [float(arrays["skip_time_s"]) > 0 for arrays in moments] == [False, False, True]
    assert all(float(arrays["num_images"]) == 12 for arrays in moments)


def test_time_spent_in_probes_is_none_of_the_trainings(
    tiny_trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = probing.probe_model

    def slow(*args, **options):
        time.sleep(0.5)
        return measured(*args, **options)

    monkeypatch.setattr(probing, "probe_model", slow)
    rows, outcome = run(tiny_trial, ProbeStore(tmp_path))
    assert outcome.progress.wall_time_s > 1.5
    assert outcome.progress.train_time_s < outcome.progress.wall_time_s - 1.5
    assert sum(row.wall_time_s for row in rows) < outcome.progress.wall_time_s - 1.5


def test_the_probe_set_is_the_same_for_every_trial_and_grows_at_its_end() -> None:
    small, large = probe_rows(360, 64), probe_rows(360, 128)
    np.testing.assert_array_equal(large[:64], small)
    assert len(set(large.tolist())) == 128
    assert sorted(probe_rows(360, 10_000).tolist()) == list(range(360))
    assert large.tolist() != sorted(large.tolist())


def test_a_spec_that_turns_probes_off_probes_nothing(tiny_trial: Trial, tmp_path: Path) -> None:
    generator = train(tiny_trial, settings=Settings(probe=Probe(enabled=False)), probes=ProbeStore(tmp_path))
    list(generator)
    assert ProbeStore(tmp_path).moments() == []
