from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from orchestrator.errors import DivergedError, StoppedError, TrainingError
from orchestrator.record import EpochMetrics
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.loop import Outcome, Settings, train
from orchestrator.trial import Trial


def run(trial: Trial, **options) -> tuple[list[EpochMetrics], Outcome]:
    """All epochs and the outcome."""
    rows, generator = [], train(trial, **options)
    while True:
        try:
            rows.append(next(generator))
        except StopIteration as stop:
            return rows, stop.value


@cache
def uninterrupted(trial: Trial) -> tuple[list[EpochMetrics], Outcome]:
    return run(trial)


def recipe(trial: Trial, **changes) -> Trial:
    return replace(trial, train=replace(trial.train, **changes))


def stop_at(step: int) -> Callable[[], bool]:
    """Says stop when it is asked for the step-th time, from 0."""
    asked = iter(range(10**9))
    return lambda: next(asked) >= step


EVERYTHING = {
    "mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "ema_decay": 0.9, "clip_grad": 1.0, "crop_padding": 1,
    "warmup_epochs": 1, "random_erasing": 0.3, "micro_batch_size": 32,
}  # fmt: skip


def test_a_trial_trained_twice_gives_equal_bits(tiny_trial: Trial) -> None:
    first_rows, first = run(tiny_trial)
    torch.manual_seed(123)
    second_rows, second = run(tiny_trial)
    assert [row.numbers() for row in first_rows] == [row.numbers() for row in second_rows]
    assert first.weights == second.weights
    assert first.test_loss == second.test_loss


def test_seeds_differ(tiny_trial: Trial) -> None:
    assert run(tiny_trial)[1].weights != run(replace(tiny_trial, seed=1))[1].weights


@pytest.mark.parametrize("changes", [{}, EVERYTHING, {"optimizer": "sgd"}, {"optimizer": "lamb"}])
@pytest.mark.parametrize("step", [0, 7, 20, 21])
def test_stopped_and_resumed_equals_uninterrupted(tiny_trial: Trial, tmp_path: Path, changes: dict, step: int) -> None:
    trial = recipe(tiny_trial, **changes)
    trial = replace(trial, model=replace(trial.model, attention="reattention", drop_path_rate=0.1, drop_rate=0.1))
    rows, whole = uninterrupted(trial)
    store = CheckpointStore(tmp_path)
    with pytest.raises(StoppedError):
        run(trial, checkpoints=store, should_stop=stop_at(step))
    checkpoint = store.load_newest()
    assert checkpoint is not None
    _, resumed = run(trial, checkpoints=store, start_from=checkpoint)
    assert resumed.weights == whole.weights
    assert [row.numbers() for row in resumed.progress.rows] == [row.numbers() for row in rows]
    assert (resumed.test_loss, resumed.test_acc) == (whole.test_loss, whole.test_acc)


def test_a_long_epoch_leaves_checkpoints_inside(tiny_trial: Trial, tmp_path: Path) -> None:
    trial = recipe(tiny_trial, checkpoint_minutes=1e-9)
    store = CheckpointStore(tmp_path)
    generator = train(trial, checkpoints=store)
    next(generator)
    generator.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-19", "1-0"]


def test_a_trial_learns(tiny_trial: Trial) -> None:
    trial = recipe(tiny_trial, epochs=6, lr=1e-2)
    trial = replace(trial, model=replace(trial.model, weight_init="xavier_uniform"))
    rows, outcome = run(trial)
    assert rows[-1].train_loss < 0.7 * rows[0].train_loss
    assert outcome.test_acc > 0.6
    assert outcome.test_acc == pytest.approx(outcome.is_correct.mean())


def test_accumulated_micro_batches_equal_the_whole_batch_up_to_rounding(tiny_trial: Trial) -> None:
    rows, _ = run(tiny_trial)
    split_rows, _ = run(recipe(tiny_trial, micro_batch_size=16))
    assert split_rows[-1].train_loss == pytest.approx(rows[-1].train_loss, rel=1e-4)


def test_the_schedule_warms_up_and_ends_at_the_floor(tiny_trial: Trial) -> None:
    rows, _ = run(recipe(tiny_trial, epochs=4, warmup_epochs=2, cooldown_epochs=1, min_lr=1e-4, lr=1e-2))
    rates = [row.lr for row in rows]
    assert len(rates) == 5
    assert rates[0] < rates[1] < 1e-2
    assert rates[-1] == pytest.approx(1e-4)


def test_without_a_validation_split_nothing_is_made_up(tiny_trial: Trial) -> None:
    trial = replace(tiny_trial, data=replace(tiny_trial.data, val_fraction=0.0))
    rows, outcome = run(recipe(trial, epochs=1))
    assert (rows[0].val_loss, rows[0].val_acc, outcome.val_acc) == (None, None, None)


def test_a_loss_that_is_no_number_ends_the_trial(tiny_trial: Trial) -> None:
    with pytest.raises(DivergedError, match=r"in epoch \d+ at step \d+"):
        run(recipe(tiny_trial, optimizer="sgd", lr=1e30))


def test_mixing_an_odd_batch_is_refused(tiny_trial: Trial) -> None:
    with pytest.raises(TrainingError, match="even, not 63"):
        run(recipe(tiny_trial, mixup=0.2, batch_size=63))
    with pytest.raises(TrainingError, match="even, not 1293"):
        run(recipe(with_odd_train_split(tiny_trial), mixup=0.2, batch_size=2000))


def with_odd_train_split(trial: Trial) -> Trial:
    """1,438 images without the test split; 145 of them validate."""
    return replace(trial, data=replace(trial.data, val_fraction=0.101))


def test_the_moving_average_is_what_is_evaluated(tiny_trial: Trial) -> None:
    trial = recipe(tiny_trial, epochs=1)
    slow = run(recipe(trial, ema_decay=0.9999))[1]
    assert slow.test_acc != run(trial)[1].test_acc
    assert slow.weights != run(trial)[1].weights


def test_bf16_trains_to_a_similar_loss(tiny_trial: Trial) -> None:
    rows, _ = run(tiny_trial)
    low_rows, _ = run(recipe(tiny_trial, precision="bf16"))
    assert low_rows[-1].train_loss == pytest.approx(rows[-1].train_loss, rel=0.05)
    assert low_rows[-1].train_loss != rows[-1].train_loss


def test_the_cpu_computes_with_one_thread_and_deterministically(tiny_trial: Trial) -> None:
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(False)
    next(train(tiny_trial))
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_model_trains_to_the_same_loss(tiny_trial: Trial) -> None:
    rows, _ = run(recipe(tiny_trial, epochs=1))
    compiled_rows, _ = run(recipe(tiny_trial, epochs=1), settings=Settings(compile=True))
    assert compiled_rows[-1].train_loss == pytest.approx(rows[-1].train_loss, rel=1e-3)


def test_two_arms_of_a_seed_see_the_same_batches_and_mixing(tiny_trial: Trial, monkeypatch) -> None:
    from orchestrator.training import loop

    seen: list[list[bytes]] = []
    original = loop.Trainer.train_step

    def spying(trainer: loop.Trainer, images: torch.Tensor, labels: torch.Tensor, epoch: int, step: int):
        seen[-1].append(images.numpy().tobytes() + labels.numpy().tobytes())
        hook = trainer.model.register_forward_pre_hook(lambda _, args: seen[-1].append(args[0].numpy().tobytes()))
        try:
            return original(trainer, images, labels, epoch, step)
        finally:
            hook.remove()

    monkeypatch.setattr(loop.Trainer, "train_step", spying)
    for attention, depth in [("self", 2), ("reattention", 2), ("self", 3)]:
        seen.append([])
        model = dataclasses.replace(tiny_trial.model, attention=attention, depth=depth, drop_path_rate=0.2)
        run(recipe(replace(tiny_trial, model=model), epochs=1, mixup=0.5, crop_padding=1))
    assert len(seen[0]) == 40
    assert seen[0] == seen[1] == seen[2]
