"""A trial in, the seconds that an epoch of it takes on this device out, from its first steps."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from orchestrator.training.augment import train_batches
from orchestrator.training.images import Split
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.trial import Trial

MIN_STEPS = 3
"""Timed ones; the first step of all warms up and counts nothing."""
MAX_STEPS = 50
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
    """Timed."""


def measure_epoch(trial: Trial, device: str, budget_s: float) -> EpochTime:
    """Train steps of `trial` for about `budget_s` seconds, at least a few, and evaluate on some images; writes nothing.

    Raises:
        DataError: the dataset is missing or an image is broken.
        TrainingError: the model is not what the trial asks for.
    """
    trainer = Trainer(trial, Settings(device=device), None, never_stop)
    steps = _time_steps(trainer, (1.0 - EVAL_SHARE) * budget_s)
    step_s = statistics.median(steps)
    eval_s = 0.0 if trainer.data.val is None else _evaluation_s(trainer, trainer.data.val, EVAL_SHARE * budget_s)
    return EpochTime(step_s * trainer.num_steps + eval_s, step_s, len(steps))


def _time_steps(trainer: Trainer, budget_s: float) -> list[float]:
    trainer.model.train()
    times: list[float] = []
    began = last = time.monotonic()
    epoch = 1
    while True:
        batches = train_batches(trainer.data, trainer.trial, epoch, device=trainer.device)
        for step, (images, labels) in enumerate(batches):
            float(trainer.train_step(images, labels, epoch, step))  # waits for a GPU
            now = time.monotonic()
            times.append(now - last)
            last = now
            is_enough = len(times) > MIN_STEPS and (now - began > budget_s or len(times) > MAX_STEPS)
            if is_enough:
                return times[1:]
        epoch += 1


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
