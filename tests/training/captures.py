"""What tests of graphs share: a stand-in for the capture that carries a step out again, and trainings to hold apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from torch import Tensor

from orchestrator.record import EpochMetrics
from orchestrator.training import graphs
from orchestrator.training.augment import train_batches
from orchestrator.training.loop import Outcome, Settings, Trainer, never_stop, train
from orchestrator.trial import Trial

GRAPHS = Settings(graphs=True)
EXACT = {"lr": 2.0**-9, "min_lr": 2.0**-9}
"""A learning rate that stays, and that float32, in which a graph reads it, holds exactly."""
EVERYTHING = {
    "mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "ema_decay": 0.9, "clip_grad": 1.0, "crop_padding": 1,
    "warmup_epochs": 1, "random_erasing": 0.3,
}  # fmt: skip
DROPPING = {"drop_path_rate": 0.2, "proj_drop_rate": 0.1, "drop_rate": 0.1}


class Again:
    """A capture whose replay carries the step out again."""

    def __init__(self) -> None:
        self.asides: list[bool] = []
        self.num_replays = 0

    def aside(self, *, may_wait: bool) -> AbstractContextManager[None]:
        self.asides.append(may_wait)
        return nullcontext()

    def capture(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def replay() -> Tensor:
            self.num_replays += 1
            return step()

        return replay


def use(monkeypatch: pytest.MonkeyPatch, kind: type[Again], made: list[Again]) -> None:
    def make() -> Again:
        made.append(kind())
        return made[-1]

    monkeypatch.setitem(graphs.CAPTURES, "cpu", make)


def changed(trial: Trial, *, model: dict[str, Any] | None = None, **recipe: Any) -> Trial:
    return replace(trial, model=replace(trial.model, **(model or {})), train=replace(trial.train, **recipe))


def run(trial: Trial, settings: Settings, **options: Any) -> tuple[list[dict[str, Any]], Outcome]:
    """The numbers of all epochs, and the outcome."""
    rows: list[EpochMetrics] = []
    generator = train(trial, settings=settings, **options)
    while True:
        try:
            rows.append(next(generator))
        except StopIteration as stop:
            return [row.numbers() for row in rows], stop.value


def steps_of(trainer: Trainer, num_steps: int) -> Iterator[tuple[Tensor, Tensor, int, int]]:
    """Arguments of `train_step`."""
    trainer.model.train()
    batches = train_batches(trainer.data, trainer.trial, 1)
    for step, (images, labels) in enumerate(islice(batches, num_steps)):
        yield images, labels, 1, step


def weights_of(trainer: Trainer) -> list[Tensor]:
    return [value.clone() for value in trainer.model.state_dict().values()]


def trainers(trial: Trial) -> tuple[Trainer, Trainer]:
    """With graphs and without."""
    graphed, plain = (Trainer(trial, settings, None, never_stop) for settings in (GRAPHS, Settings()))
    return graphed, plain
