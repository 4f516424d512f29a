"""Seeds trained together end as each would alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.errors import DivergedError, StoppedError
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.loop import Outcome, Settings, Trainer
from orchestrator.training.pack import Pack, UnpackedError
from orchestrator.training.stacked import Stack
from orchestrator.trial import Trial
from tests.training.packed import assert_alike, run_alone, run_packed, seeds_of

EVERYTHING = {
    "mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "ema_decay": 0.9, "clip_grad": 1.0, "crop_padding": 1,
    "warmup_epochs": 1, "random_erasing": 0.3,
}  # fmt: skip
DROPPING = {"drop_path_rate": 0.2, "proj_drop_rate": 0.1, "drop_rate": 0.1}


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        ({}, {}),
        (DROPPING, EVERYTHING),
        pytest.param(
            {"attention": "reattention", "img_size": 32, **DROPPING},
            {**EVERYTHING, "epochs": 1, "optimizer": "sgd", "lr": 0.05},
            marks=pytest.mark.slow,
        ),
        ({"attention": "reattention", "drop_path_rate": 0.2}, {**EVERYTHING, "optimizer": "sgd", "lr": 0.05}),
        ({"attention": "batchnorm_only"}, {"optimizer": "sgd", "lr": 0.05, "cos_reg": "paper"}),
        ({"residual_scale": "1/depth", "init_values": 0.1, "global_pool": "avg"}, {"weight_decay": 0.3}),
    ],
    ids=["self", "self, everything", "no maps, everything", "maps, everything", "penalty", "groups"],
)
def test_rows_and_weights_are_those_of_each_seed_alone(tiny_trial: Trial, model: dict, recipe: dict) -> None:
    trials = seeds_of(tiny_trial, model=model, **recipe)
    packed = run_packed(trials)
    for trial in trials:
        assert_alike(packed[trial.trial_id], run_alone(trial))
        assert [row.num_packed for row in packed[trial.trial_id][0]] == [3] * trial.train.epochs


GPU_TOLERANCES = {"fp32": 0.02, "bf16": 0.1}
"""Relative, of losses after two epochs: stacked, a GPU sums in another order."""


@pytest.mark.gpu
@pytest.mark.parametrize("attention", ["self", "reattention", "temperature"])
@pytest.mark.parametrize("precision", GPU_TOLERANCES)
def test_a_gpu_trains_seeds_together_to_the_losses_of_each_alone(
    tiny_trial: Trial, attention: str, precision: str
) -> None:
    trials = seeds_of(tiny_trial, model={"attention": attention}, clip_grad=1.0, precision=precision)
    settings = Settings(device="cuda")
    packed = run_packed(trials, settings=lambda trial: settings)
    for trial in trials:
        rows, outcome = packed[trial.trial_id]
        assert isinstance(outcome, Outcome), outcome
        assert [row.num_packed for row in rows] == [3] * trial.train.epochs
        for row, other in zip(rows, run_alone(trial, settings=settings)[0], strict=True):
            assert row.train_loss == pytest.approx(other.train_loss, rel=GPU_TOLERANCES[precision])


def stop_at(step: int) -> Callable[[], bool]:
    """Says stop when it is asked for the step-th time, from 0."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= step


@pytest.mark.parametrize("step", [7, 20])
def test_a_seed_that_is_stopped_goes_on_alone_and_the_others_do_not_notice(
    tiny_trial: Trial, tmp_path: Path, step: int
) -> None:
    trials = seeds_of(tiny_trial, model=DROPPING, ema_decay=0.9, clip_grad=1.0)
    stores = {trial.trial_id: CheckpointStore(tmp_path / trial.trial_id) for trial in trials}
    packed = run_packed(
        trials,
        checkpoints=lambda trial: stores[trial.trial_id],
        should_stop=lambda trial: stop_at(step if trial.seed == 1 else 10**6),
    )
    stopped = trials[1]
    assert isinstance(packed[stopped.trial_id][1], StoppedError)
    for trial in (trials[0], trials[2]):
        assert_alike(packed[trial.trial_id], run_alone(trial))
    checkpoint = stores[stopped.trial_id].load_newest()
    assert checkpoint is not None
    rows, outcome = run_alone(stopped, start_from=checkpoint)
    assert_alike(([*packed[stopped.trial_id][0], *rows], outcome), run_alone(stopped))


def test_a_pack_goes_on_from_checkpoints_of_seeds_alone_and_waits_for_those_behind(
    tiny_trial: Trial, tmp_path: Path
) -> None:
    trials = seeds_of(tiny_trial, epochs=4, model=DROPPING, ema_decay=0.9)
    starts = {}
    for trial, num_steps in zip(trials, (0, 27, 40), strict=True):
        store = CheckpointStore(tmp_path / trial.trial_id)
        _, ended = run_alone(trial, checkpoints=store, should_stop=stop_at(num_steps))
        assert isinstance(ended, StoppedError)
        starts[trial.trial_id] = store.load_newest()
    packed = run_packed(trials, start_from=lambda trial: starts[trial.trial_id])
    for trial in trials:
        outcome = packed[trial.trial_id][1]
        assert isinstance(outcome, Outcome)
        assert_alike((list(outcome.progress.rows), outcome), run_alone(trial))
    assert [[row.num_packed for row in packed[trial.trial_id][0]] for trial in trials] == [
        [1, 1, 3, 3], [1, 3, 3], [3, 3]
    ]  # fmt: skip


def test_a_seed_that_diverges_leaves_alone(tiny_trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = seeds_of(tiny_trial)

    def spoiling(stack: Stack, batches: object, epoch: int, step: int) -> torch.Tensor:
        totals = original(stack, batches, epoch, step)
        seeds = [trainer.trial.seed for trainer in stack.trainers]
        if (epoch, step) == (1, 5):
            totals[seeds.index(1)] = torch.nan
        return totals

    original = Stack.train_step
    monkeypatch.setattr(Stack, "train_step", spoiling)
    packed = run_packed(trials)
    assert isinstance(packed[trials[1].trial_id][1], DivergedError)
    assert "epoch 1 at step 5" in str(packed[trials[1].trial_id][1])
    for trial in (trials[0], trials[2]):
        assert_alike(packed[trial.trial_id], run_alone(trial))


def test_nothing_is_trained_for_a_seed_that_its_driver_ended(tiny_trial: Trial) -> None:
    trials = seeds_of(tiny_trial, epochs=3)
    pack = Pack({trial.trial_id for trial in trials})
    runs = [pack.train(trial) for trial in trials]
    rows: list[list] = [[] for _ in trials]
    for _ in range(2):
        for index, run in enumerate(runs):
            row = next(run)
            rows[index] += [row] if row is not None else []
    assert [len(own) for own in rows] == [1, 1, 1]
    runs[1].close()
    pack.leave(trials[1].trial_id)
    for index in (0, 2):
        row = next(runs[index])
        rows[index] += [row] if row is not None else []
    assert [[row.num_packed for row in own] for own in rows] == [[3, 2], [3], [3, 2]]


def test_an_error_of_a_common_step_sends_every_seed_on_alone(
    tiny_trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Stack, *args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Stack, "train_step", failing)
    trials = seeds_of(tiny_trial)
    pack = Pack({trial.trial_id for trial in trials})
    assert all(pack.trains(trial, trial) for trial in trials)
    runs = [pack.train(trial) for trial in trials]
    for run in runs[:2]:
        assert next(run) is None
    for run in (runs[2], *runs[:2]):
        with pytest.raises(UnpackedError, match="OutOfMemoryError: CUDA out of memory"):
            next(run)
    assert not any(pack.trains(trial, trial) for trial in trials)


def test_a_seed_that_memory_changed_is_none_of_the_pack(tiny_trial: Trial) -> None:
    trials = seeds_of(tiny_trial, num=2)
    pack = Pack({trial.trial_id for trial in trials})
    smaller = replace(trials[0], train=replace(trials[0].train, micro_batch_size=8))
    assert not pack.trains(trials[0], smaller)
    row = next(pack.train(trials[1]))
    assert row is not None
    assert row.num_packed == 1


def test_an_error_of_one_seed_alone_is_its_own(tiny_trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = seeds_of(tiny_trial, num=1)

    def failing(self: Trainer) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Trainer, "run_epoch", failing)
    with pytest.raises(RuntimeError, match="a bug"):
        next(Pack({trials[0].trial_id}).train(trials[0]))
