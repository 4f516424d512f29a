"""Trainers at one place of their training in; what one epoch, trained stacked, came to for each of them, out.

A seed that is stopped, diverges or cannot write leaves the stack, and the others go on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from orchestrator.errors import DivergedError, OrchestratorError, StoppedError
from orchestrator.record import EpochMetrics
from orchestrator.training.augment import train_batches
from orchestrator.training.checkpoint import Progress
from orchestrator.training.loop import STEPS_BETWEEN_LOSS_CHECKS, Trainer
from orchestrator.training.recipe import schedule_lr
from orchestrator.training.stacked import Stack


class StackedEpochs:
    """Trains epochs; the stack stays from one epoch to the next as long as its trainers do."""

    def __init__(self) -> None:
        self._stack: Stack | None = None

    def run(self, trainers: Sequence[Trainer]) -> list[EpochMetrics | OrchestratorError]:
        """Train what is left of the epoch; for each trainer its row, committed, or what ended it.

        Raises:
            Exception: whatever is not one trainer's own, such as memory that runs out in a step.
        """
        members = [_Member(trainer, len(trainers), self._hand_out) for trainer in trainers]
        active, num_steps = list(members), trainers[0].num_steps
        for step in range(members[0].start.step, num_steps):
            active = _still(active, partial(_Member.before, step=step))
            if not active:
                break
            totals = self._stack_of(active).train_step([next(m.batches) for m in active], members[0].epoch, step)
            for member, total in zip(active, totals, strict=True):
                member.add(total)
            if step % STEPS_BETWEEN_LOSS_CHECKS[trainers[0].device.type] == 0 or step == num_steps - 1:
                is_finite = torch.isfinite(torch.stack([member.loss_sum for member in active])).tolist()
                active = _still(
                    active, partial(_Member.check, step=step, finite=dict(zip(active, is_finite, strict=True)))
                )
        _still(active, _Member.finish)
        return [member.result for member in members if member.result is not None]

    def forget(self) -> None:
        """A trainer is trained by somebody else next, or not any more."""
        self._stack = None

    def _hand_out(self, trainer: Trainer) -> None:
        if self._stack is not None:
            self._stack.hand_out(trainer)

    def _stack_of(self, members: Sequence[_Member]) -> Stack:
        trainers = tuple(member.trainer for member in members)
        if self._stack is None or self._stack.trainers != trainers:
            for trainer in trainers:
                self._hand_out(trainer)
            self._stack = None  # its moments are freed as the new ones are made
            self._stack = Stack(trainers)
        return self._stack


class _Member:
    """One trainer's epoch so far."""

    result: EpochMetrics | OrchestratorError | None = None

    def __init__(self, trainer: Trainer, num_packed: int, hand_out: Callable[[Trainer], None]) -> None:
        self.trainer, self.num_packed, self.hand_out = trainer, num_packed, hand_out
        self.start = trainer.progress
        self.epoch = self.start.epoch + 1
        self.began = time.monotonic() - self.start.epoch_time_s
        self.loss_sum = torch.tensor(self.start.loss_sum, dtype=torch.float64, device=trainer.device)
        self.num_images = self.start.num_images
        self.batches = train_batches(
            trainer.data, trainer.trial, self.epoch,
            start_step=self.start.step, num_workers=trainer.settings.num_loader_workers, device=trainer.device,
        )  # fmt: skip
        trainer.model.train()

    def before(self, step: int) -> None:
        """Save where it is time to, and stop where that was asked.

        Raises:
            StoppedError: it was; the state is in a checkpoint.
        """
        trainer = self.trainer
        if trainer.should_stop():
            self._save(self._progress_at(step))
            raise StoppedError(f"stopped in epoch {self.epoch} before step {step}")
        is_due = time.monotonic() - trainer.last_checkpoint > 60 * trainer.trial.train.checkpoint_minutes
        if is_due and step > self.start.step:
            self._save(self._progress_at(step))

    def add(self, total: Tensor) -> None:
        """Count a step by its cross-entropy, summed over its images."""
        self.loss_sum += total
        self.num_images += self.trainer.batch.num_images

    def check(self, step: int, finite: dict[_Member, bool]) -> None:
        if not finite[self]:
            raise DivergedError(self.epoch, step, float(self.loss_sum))

    def finish(self) -> None:
        """Evaluate, and commit a checkpoint."""
        trainer = self.trainer
        val = trainer.data.val
        val_loss, val_acc, _ = trainer.evaluate(val) if val is not None else (None, None, None)
        if val_loss is not None and not math.isfinite(val_loss):
            raise DivergedError(self.epoch, trainer.num_steps, val_loss)
        done = self._progress_at(0, epoch=self.epoch, loss_sum=0.0, num_images=0, epoch_time_s=0.0)
        self.hand_out(trainer)
        row = EpochMetrics(
            epoch=self.epoch,
            train_loss=float(self.loss_sum) / self.num_images,
            val_loss=val_loss,
            val_acc=val_acc,
            lr=schedule_lr(trainer.optimizer),
            wall_time_s=time.monotonic() - self.began,
            num_packed=self.num_packed,
        )
        trainer.progress = replace(done, rows=(*self.start.rows, row))
        trainer.save(trainer.progress)
        self.result = row

    def _progress_at(self, step: int, **changes: object) -> Progress:
        spent = time.monotonic() - self.began
        place = replace(
            self.start, step=step, loss_sum=float(self.loss_sum), num_images=self.num_images, epoch_time_s=spent,
            train_time_s=self.start.train_time_s - self.start.epoch_time_s + spent,
            wall_time_s=time.monotonic() - self.trainer.started,
        )  # fmt: skip
        return replace(place, **changes)  # type: ignore[arg-type]

    def _save(self, progress: Progress) -> None:
        self.hand_out(self.trainer)
        self.trainer.save(progress)


def _still(members: Sequence[_Member], action: Callable[[_Member], None]) -> list[_Member]:
    """The members that `action` did not end; an error of the house is one member's own."""
    for member in members:
        try:
            action(member)
        except OrchestratorError as error:
            member.result = error
    return [member for member in members if member.result is None]
