"""A recipe and a model in; the optimizer, its learning-rate schedule and the mixing of images out, made by timm."""

from __future__ import annotations

from typing import Any

from timm.data.mixup import Mixup
from timm.optim._optim_factory import create_optimizer_v2
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.scheduler_factory import create_scheduler_v2
from torch.optim import Optimizer

from orchestrator.configs import ModelConfig, TrainConfig
from orchestrator.errors import TrainingError
from orchestrator.models import VisionTransformer


def build_optimizer(model: VisionTransformer, recipe: TrainConfig, config: ModelConfig | None = None) -> Optimizer:
    """The recipe's optimizer; biases, norms, positions and the class token take no weight decay.

    AdamW updates all parameters of a group in one fused kernel, on a CPU too.

    Args:
        config: with a `residual_scale`, the blocks' parameters get a learning rate and an eps of their own.
    """
    options: dict[str, Any] = {"fused": True} if recipe.optimizer == "adamw" else {}
    optimizer = create_optimizer_v2(
        model, opt=recipe.optimizer, lr=recipe.lr, weight_decay=recipe.weight_decay, momentum=recipe.momentum, **options
    )
    if config is not None and config.residual_scale is not None:
        _rescale_blocks(optimizer, model, config)
    return optimizer


def _rescale_blocks(optimizer: Optimizer, model: VisionTransformer, config: ModelConfig) -> None:
    """Split every group: lr times m^(a-1) and eps times m^-a for what lies in blocks (CompleteP, arXiv 2505.01618)."""
    ratio, exponent = config.depth_ratio, config.residual_exponent
    in_blocks = {id(parameter) for parameter in model.blocks.parameters()}
    groups, optimizer.param_groups = optimizer.param_groups, []
    for group in groups:
        inside = [parameter for parameter in group["params"] if id(parameter) in in_blocks]
        outside = [parameter for parameter in group["params"] if id(parameter) not in in_blocks]
        scaled = {"lr_scale": ratio ** (exponent - 1.0), "eps": group["eps"] * ratio**-exponent}
        for parameters, changes in ((outside, {}), (inside, scaled)):
            if parameters:
                optimizer.add_param_group({**group, "params": parameters, **changes})


def schedule_lr(optimizer: Optimizer) -> float:
    """The learning rate that the schedule is at; groups may have a fixed multiple of it."""
    return max(float(group["lr"]) / float(group.get("lr_scale", 1.0)) for group in optimizer.param_groups)


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
