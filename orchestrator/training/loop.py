"""A trial in, an iterator of `EpochMetrics` out, and at its end the `Outcome`; knows neither Ray nor MLflow.

On the CPU a trial computes with one thread and deterministic algorithms, so equal trials give equal bits. Nothing is
selected: the final model, or its moving average where the recipe keeps one, is evaluated, on the test split once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from orchestrator.errors import DivergedError, StoppedError
from orchestrator.grids.sweep_spec import Probe
from orchestrator.models import build_model, check_model
from orchestrator.models.batch_share import BatchShare, draws_alone, share_batches
from orchestrator.models.vit import VisionTransformer
from orchestrator.record import EpochMetrics
from orchestrator.seeding import stream_seed
from orchestrator.training.augment import resident, steps_per_epoch, train_batches
from orchestrator.training.batch_parts import batch_parts
from orchestrator.training.checkpoint import Checkpoint, CheckpointStore, Progress, weights_bytes
from orchestrator.training.compiling import compile_blocks
from orchestrator.training.data import Split, load_data
from orchestrator.training.device import set_arithmetic
from orchestrator.training.evaluate import evaluate
from orchestrator.training.graphs import graphed_step
from orchestrator.training.objective import Objective
from orchestrator.training.probe_store import ProbeStore
from orchestrator.training.probing import Prober
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.recipe import build_mixup, build_optimizer, build_scheduler, schedule_lr
from orchestrator.training.shards import ALONE, Shards
from orchestrator.trial import Trial

STEPS_BETWEEN_LOSS_CHECKS = {"cpu": 1, "cuda": 50}
"""Reading the loss makes the host wait for a GPU, so there it is looked at less often."""


@dataclass(frozen=True)
class Outcome:
    """What the final model is worth."""

    num_epochs: int
    val_loss: float | None
    val_acc: float | None
    test_loss: float
    test_acc: float
    is_correct: np.ndarray
    """[num_test_images] bool, in the order of the test split."""
    weights: bytes
    """The evaluated weights, as a safetensors file."""
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a training runs on; none of it changes what is computed, beyond rounding."""

    device: str = "cpu"
    compile: bool = False
    graphs: bool = False
    num_loader_workers: int = 0
    code_fingerprint: str = ""
    probe: Probe | None = None
    """What is probed and when; None probes nothing."""
    shards: Shards = ALONE
    """This process among those that train the trial together."""


def never_stop() -> bool:
    return False


def train(
    trial: Trial,
    *,
    settings: Settings | None = None,
    checkpoints: CheckpointStore | None = None,
    probes: ProbeStore | None = None,
    start_from: Checkpoint | None = None,
    should_stop: Callable[[], bool] = never_stop,
) -> Generator[EpochMetrics, None, Outcome]:
    """Train, yielding the metrics of each epoch; the generator's return value is the `Outcome`.

    A checkpoint is committed before an epoch's metrics are yielded, every `train.checkpoint_minutes` inside a long
    epoch, and at a stop. Of several processes only the first one needs stores, a checkpoint to start from, and somebody
    to ask whether to stop; what it has goes for all of them.

    Args:
        probes: where probed moments go; None probes nothing.
        start_from: go on from this checkpoint instead of from the start; epochs it holds are not yielded again.
        should_stop: asked before every optimizer step.

    Raises:
        TrainingError: the model is not what the trial asks for.
        DivergedError: the loss is no longer finite.
        StoppedError: `should_stop` said so; the state is in a checkpoint.
        DataError: the dataset is missing or an image is broken.
    """
    settings = settings or Settings()
    trial = settings.shards.of_first(trial)
    trainer = Trainer(trial, settings, checkpoints, should_stop, probes)
    start_from = settings.shards.of_first(start_from)
    if start_from is not None:
        trainer.restore(start_from)
    num_epochs = trial.train.epochs + trial.train.cooldown_epochs
    while trainer.progress.epoch < num_epochs:
        trainer.probe()
        yield trainer.run_epoch()
    return trainer.finish()


class Trainer:
    """One trial in training: model, optimizer, schedule and progress."""

    def __init__(
        self,
        trial: Trial,
        settings: Settings,
        checkpoints: CheckpointStore | None,
        should_stop: Callable[[], bool],
        probes: ProbeStore | None = None,
    ) -> None:
        self.trial, self.settings, self.checkpoints, self.should_stop = trial, settings, checkpoints, should_stop
        self.started = time.monotonic()
        self.device = torch.device(settings.device)
        set_arithmetic(self.device)
        self.data = resident(load_data(trial.data, trial.model.img_size), trial, self.device)
        model = build_model(trial)
        check_model(model, trial)
        self.shards = settings.shards
        self.share = BatchShare(self.shards.rank, self.shards.size)
        self.own_draws: tuple[int, ...] = ()
        if not self.shards.is_alone:
            share_batches(model, self.share)
            self.own_draws = (self.shards.rank,) if draws_alone(model, trial.model) else ()
        self.model = model.to(self.device)
        self.parameters = list(self.model.parameters())  # finding them takes as long as clipping their gradients
        if settings.compile:
            compile_blocks(self.model)
        recipe = trial.train
        self.num_steps = steps_per_epoch(len(self.data.train), recipe.batch_size)
        self.optimizer = build_optimizer(self.model, recipe, trial.model)
        self.scheduler = build_scheduler(self.optimizer, recipe, self.num_steps)
        self.average = ModelEmaV3(self.model, decay=recipe.ema_decay) if recipe.ema_decay is not None else None
        self.average_module: VisionTransformer | None = self.average.module if self.average is not None else None
        self.evaluated = self.model if self.average_module is None else self.average_module
        """The weights that are measured."""
        batch_size = min(recipe.batch_size, len(self.data.train))
        self.mixup = build_mixup(recipe, trial.data.num_classes, batch_size)
        is_mixed = self.mixup is not None
        self.batch = batch_parts(batch_size, recipe.micro_batch_size, self.shards, self.device, is_mixed=is_mixed)
        self.objective = Objective(self.model, trial, is_mixed=is_mixed)
        self.graph = (
            graphed_step(trial, self.shards, self.model, self.optimizer, self.average) if settings.graphs else None
        )
        self.progress = Progress.at_start(settings.code_fingerprint)
        self.last_checkpoint = time.monotonic()
        self.prober: Prober | None = None
        if probes is not None and settings.probe is not None and settings.probe.enabled:
            self.prober = Prober(trial, settings.probe, probes, self.data, self.device)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from `checkpoint`."""
        checkpoint.restore(self.model, self.optimizer, self.average_module)
        self.progress = replace(checkpoint.progress, code_fingerprint=self.settings.code_fingerprint)
        self.started = time.monotonic() - self.progress.wall_time_s

    def probe(self) -> None:
        """Probe what is due before the next epoch; its time is none of the training's."""
        if self.prober is not None:
            self.prober.before_epoch(self.progress, self.evaluated)

    def run_epoch(self) -> EpochMetrics:
        """Train what is left of the epoch, evaluate, commit a checkpoint."""
        start = self.progress
        began = time.monotonic() - start.epoch_time_s
        base_train_time_s = start.train_time_s - start.epoch_time_s
        loss_sum = torch.tensor(start.loss_sum, dtype=torch.float64, device=self.device)
        num_images, epoch = start.num_images, start.epoch + 1

        def progress_at(step: int, **changes: object) -> Progress:
            spent = time.monotonic() - began
            place = replace(
                start, step=step, loss_sum=float(loss_sum), num_images=num_images, epoch_time_s=spent,
                train_time_s=base_train_time_s + spent, wall_time_s=time.monotonic() - self.started,
            )  # fmt: skip
            return replace(place, **changes)  # type: ignore[arg-type]

        self.model.train()
        batches = train_batches(
            self.data, self.trial, epoch, start_step=start.step, num_workers=self.settings.num_loader_workers,
            positions=self.batch.positions, device=self.device,
        )  # fmt: skip
        for step, (images, labels) in enumerate(batches, start=start.step):
            if self.shards.decides(self.should_stop()):
                self.save(progress_at(step))
                raise StoppedError(f"stopped in epoch {epoch} before step {step}")
            if time.monotonic() - self.last_checkpoint > 60 * self.trial.train.checkpoint_minutes and step > start.step:
                self.save(progress_at(step))
            loss_sum += self.train_step(images, labels, epoch, step)
            num_images += self.batch.num_images
            is_looked_at = step % STEPS_BETWEEN_LOSS_CHECKS[self.device.type] == 0 or step == self.num_steps - 1
            if is_looked_at and not torch.isfinite(loss_sum):
                raise DivergedError(epoch, step, float(loss_sum))
        self.shards.check_alike(self.model)
        val_loss, val_acc, _ = self.evaluate(self.data.val) if self.data.val is not None else (None, None, None)
        if val_loss is not None and not math.isfinite(val_loss):
            raise DivergedError(epoch, self.num_steps, val_loss)
        done = progress_at(0, epoch=epoch, loss_sum=0.0, num_images=0, epoch_time_s=0.0)
        row = EpochMetrics(
            epoch=epoch,
            train_loss=float(loss_sum) / num_images,
            val_loss=val_loss,
            val_acc=val_acc,
            lr=schedule_lr(self.optimizer),
            wall_time_s=time.monotonic() - began,
        )
        self.progress = replace(done, rows=(*start.rows, row))
        self.save(self.progress)
        return row

    def finish(self) -> Outcome:
        """Evaluate the final model; the only place that looks at the test split."""
        test_loss, test_acc, is_correct = self.evaluate(self.data.test)
        if self.prober is not None:
            self.prober.final(self.evaluated, self.progress.epoch)
        last = self.progress.rows[-1]
        return Outcome(
            num_epochs=self.progress.epoch,
            val_loss=last.val_loss,
            val_acc=last.val_acc,
            test_loss=test_loss,
            test_acc=test_acc,
            is_correct=is_correct,
            weights=weights_bytes(self.evaluated),
            progress=replace(self.progress, wall_time_s=time.monotonic() - self.started),
        )

    def train_step(self, images: Tensor, labels: Tensor, epoch: int, step: int) -> Tensor:
        """One optimizer step; returns the cross-entropy summed over the batch's images, in float64."""
        self.scheduler.step_update((epoch - 1) * self.num_steps + step)
        images, labels = self.mixed(images, labels, epoch, step)
        seed = stream_seed(self.trial.seed, "dropout", epoch, step, *self.own_draws)
        if self.graph is not None:
            return self.graph.run(self.update, images, labels, seed)
        with seeded_globals(seed):
            return self.update(images, labels)

    def update(self, images: Tensor, labels: Tensor) -> Tensor:
        """What a graph holds of a step: forward, backward, clipping, the optimizer and the moving average."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in self.batch.parts:
            with self.share.of(part.num_images):
                with self.autocast():
                    loss, cross_entropy = self.objective(images[part.rows], labels[part.rows])
                (loss * (part.num_own / self.batch.num_images)).backward()
            total += cross_entropy.detach().double() * part.num_own
        self.shards.add_up_gradients(self.model)
        if self.trial.train.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.trial.train.clip_grad)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        return self.shards.total(total)

    def mixed(self, images: Tensor, labels: Tensor, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """A batch, its images mixed where the recipe mixes."""
        if self.mixup is None:
            return images, labels
        with seeded_globals(stream_seed(self.trial.seed, "mixup", epoch, step)):
            return self.mixup(images, labels)  # type: ignore[no-any-return]

    def evaluate(self, split: Split) -> tuple[float, float, np.ndarray]:
        """Mean cross-entropy, accuracy in 0..1, and [num_images] bool."""
        return evaluate(
            self.evaluated, split, self.data, self.trial,
            device=self.device, shards=self.shards, num_loader_workers=self.settings.num_loader_workers,
        )  # fmt: skip

    def autocast(self) -> torch.autocast:
        """The precision of the recipe."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.trial.train.precision == "bf16")

    def save(self, progress: Progress) -> None:
        """Commit a checkpoint, where they are kept."""
        if self.checkpoints is not None:
            self.checkpoints.save(progress, self.model, self.optimizer, self.average_module)
        self.last_checkpoint = time.monotonic()
