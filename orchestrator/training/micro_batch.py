"""A trial whose step does not fit the device's memory in; the largest halved micro-batch with which it fits out."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import torch

from orchestrator.failure import is_device_full
from orchestrator.models import build_model
from orchestrator.models.batch_statistics import has_batch_statistics
from orchestrator.training.augment import train_batches
from orchestrator.training.device import release_memory
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.trial import Trial

NUM_STEPS = 2
"""The first step makes the optimizer's state, so only the second one needs all the memory of a training."""


def with_micro_batch(trial: Trial, size: int | None) -> Trial:
    """The trial as it is trained with `size` images at a time; None leaves it as it was asked."""
    return trial if size is None else replace(trial, train=replace(trial.train, micro_batch_size=size))


def find_fitting(trial: Trial, settings: Settings, below: int) -> int | None:
    """Trains two steps with half of `below` images at a time, with a quarter, and so on until they fit.

    Returns:
        The first size that fits, a number below `below`; None where one image does not.
    """
    size = below // 2
    while size >= 1:
        release_memory()
        if _fits(with_micro_batch(trial, size), settings):
            return size
        size //= 2
    return None


def depends_on_batch(trial: Trial) -> bool:
    """Whether the trial's model computes statistics over a batch, so that a smaller one is another experiment."""
    return has_batch_statistics(build_model(trial), trial.model, trial.data.in_chans)


def _fits(trial: Trial, settings: Settings) -> bool:
    try:
        trainer = Trainer(trial, replace(settings, probe=None, graphs=False), None, never_stop)
        trainer.model.train()
        batches = train_batches(trainer.data, trial, 1, device=trainer.device)
        for step, (images, labels) in enumerate(islice(batches, NUM_STEPS)):
            trainer.train_step(images, labels, 1, step)
        if trainer.device.type == "cuda":
            torch.cuda.synchronize()
    except RuntimeError as error:
        if not is_device_full(error):
            raise
        return False
    return True
