"""A trial in, the seconds that an epoch of it takes on this device out, from its first steps."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from orchestrator.training.augment import train_batches
from orchestrator.training.images import Split
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.trial import Trial

MIN_TIMES, MAX_TIMES = 3, 50
"""How often steps are timed."""
WARM_UP = {"cpu": 1, "cuda": 5}
"""Steps that count nothing."""
TOGETHER = {"cpu": 1, "cuda": 10}
"""Steps that are timed as one: a GPU computes one while the next is launched, unless it is waited for."""
EVAL_SHARE = 0.3
"""Of the time, for evaluation."""


@dataclass(frozen=True)
class EpochTime:
    """What an epoch takes."""

    epoch_s: float
    """Expected: every step and the evaluation on validation images."""
    step_s: float
    """Median of the timed steps, loading included."""
    num_steps: int
    """Timed steps."""


def measure_epoch(trial: Trial, device: str, budget_s: float) -> EpochTime:
    """Train steps of `trial` for about `budget_s` seconds, at least a few, and evaluate on some images; writes nothing.

    Raises:
        DataError: the dataset is missing or an image is broken.
        TrainingError: the model is not what the trial asks for.
    """
    trainer = Trainer(trial, Settings(device=device), None, never_stop)
    times = _time_steps(trainer, (1.0 - EVAL_SHARE) * budget_s)
    step_s = statistics.median(times)
    eval_s = 0.0 if trainer.data.val is None else _evaluation_s(trainer, trainer.data.val, EVAL_SHARE * budget_s)
    return EpochTime(step_s * trainer.num_steps + eval_s, step_s, len(times) * TOGETHER[trainer.device.type])


def _time_steps(trainer: Trainer, budget_s: float) -> list[float]:
    """Seconds a step, each the mean of as many as are timed together."""
    num_together = TOGETHER[trainer.device.type]
    trainer.model.train()
    losses = _steps(trainer)
    times: list[float] = []
    began = time.monotonic()
    float(_last(losses, WARM_UP[trainer.device.type]))
    while len(times) < MIN_TIMES or (time.monotonic() - began < budget_s and len(times) < MAX_TIMES):
        before = time.monotonic()
        float(_last(losses, num_together))  # waits for a GPU
        times.append((time.monotonic() - before) / num_together)
    return times


def _steps(trainer: Trainer) -> Iterator[Tensor]:
    """Trains, epoch after epoch; the loss of each step."""
    for epoch in count(1):
        batches = train_batches(trainer.data, trainer.trial, epoch, device=trainer.device)
        for step, (images, labels) in enumerate(batches):
            yield trainer.train_step(images, labels, epoch, step)


def _last(losses: Iterator[Tensor], num: int) -> Tensor:
    """Of the next `num`."""
    return list(islice(losses, num))[-1]


def _evaluation_s(trainer: Trainer, split: Split, budget_s: float) -> float:
    """Seconds of an evaluation on all of `split`: of a part of it that grows until it takes a share of the budget."""
    num_images = min(len(split), trainer.trial.train.batch_size)
    while True:
        part = split.take(np.arange(num_images))
        began = time.monotonic()
        trainer.evaluate(part)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.monotonic() - began
        if num_images == len(split) or seconds > budget_s / 4:
            return seconds * len(split) / num_images
        num_images = min(len(split), 4 * num_images)
