"""epoch_time.py: an epoch's time from its first steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orchestrator.training import epoch_time
from orchestrator.training.epoch_time import measure_epoch
from orchestrator.training.loop import Trainer
from orchestrator.trial import Trial


class Clock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time as it passes where a step takes 2 s, the first one 9 s more, and an image is evaluated in 1/50 s."""
    clock, is_first = Clock(), [True]

    def train_step(self: Trainer, images: torch.Tensor, *words: object) -> torch.Tensor:
        clock.now += 2.0 + 9.0 * is_first.pop() if is_first else 2.0
        return torch.zeros(())

    def evaluate(self: Trainer, split: list[object]) -> None:
        clock.now += len(split) / 50

    monkeypatch.setattr(epoch_time, "time", clock)
    monkeypatch.setattr(Trainer, "train_step", train_step)
    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    return clock


def test_an_epoch_is_all_its_steps_and_one_evaluation(tiny_trial: Trial, clock: Clock) -> None:
    found = measure_epoch(tiny_trial, "cpu", budget_s=0.0)
    trainer = Trainer(tiny_trial, epoch_time.Settings(), None, epoch_time.never_stop)
    assert trainer.data.val is not None
    assert found.step_s == 2.0  # the first one is not counted
    assert found.num_steps == epoch_time.MIN_TIMES
    assert found.epoch_s == pytest.approx(2.0 * trainer.num_steps + len(trainer.data.val) / 50)


def test_more_steps_are_timed_where_there_is_time_and_not_without_end(tiny_trial: Trial, clock: Clock) -> None:
    assert measure_epoch(tiny_trial, "cpu", budget_s=40.0).num_steps > epoch_time.MIN_TIMES
    assert measure_epoch(tiny_trial, "cpu", budget_s=1e9).num_steps == epoch_time.MAX_TIMES


def test_steps_that_are_timed_together_are_told_as_one(
    tiny_trial: Trial, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch_time, "TOGETHER", {"cpu": 10})
    found = measure_epoch(tiny_trial, "cpu", budget_s=0.0)
    assert (found.step_s, found.num_steps) == (2.0, 10 * epoch_time.MIN_TIMES)


def test_a_real_epoch_is_timed_and_nothing_is_changed(tiny_trial: Trial) -> None:
    trial = replace(tiny_trial, train=replace(tiny_trial.train, batch_size=2000))
    found = measure_epoch(trial, "cpu", budget_s=0.1)
    assert found.epoch_s > found.step_s > 0
    assert found.num_steps >= epoch_time.MIN_TIMES
