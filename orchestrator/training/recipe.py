"""A recipe and a model in; the optimizer, its learning-rate schedule and the mixing of images out, made by timm."""

from __future__ import annotations

from timm.data.mixup import Mixup
from timm.optim._optim_factory import create_optimizer_v2
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.scheduler_factory import create_scheduler_v2
from torch import nn
from torch.optim import Optimizer

from orchestrator.configs import TrainConfig
from orchestrator.errors import TrainingError


def build_optimizer(model: nn.Module, recipe: TrainConfig) -> Optimizer:
    """The recipe's optimizer; biases, norms, positions and the class token take no weight decay."""
    return create_optimizer_v2(
        model, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum
    )


def build_scheduler(optimizer: Optimizer, recipe: TrainConfig, num_steps: int) -> Scheduler:
    """Linear warm-up, then a cosine, stepped once an optimizer step; `num_steps` steps an epoch."""
    scheduler: Scheduler
    scheduler, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=recipe.epochs,
        cooldown_epochs=recipe.cooldown_epochs,
        warmup_epochs=recipe.warmup_epochs,
        warmup_lr=recipe.warmup_lr,
        min_lr=recipe.min_lr,
        step_on_epochs=False,
        updates_per_epoch=num_steps,
    )
    return scheduler


def build_mixup(recipe: TrainConfig, num_classes: int, batch_size: int) -> Mixup | None:
    """timm's mixup and CutMix, or None where the recipe mixes nothing.

    Raises:
        TrainingError: the batch size is odd.
    """
    if recipe.mixup == 0.0 and recipe.cutmix == 0.0:
        return None
    if batch_size % 2:
        raise TrainingError(f"mixup and CutMix pair the images of a batch, so its size must be even, not {batch_size}")
    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        prob=recipe.mixup_prob,
        label_smoothing=recipe.label_smoothing,
        num_classes=num_classes,
    )
