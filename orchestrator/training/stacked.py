"""Trainers of trials that differ in nothing but the seed in; optimizer steps of all of them, taken together, out.

Their parameters, buffers, moments and averages lie stacked, and one pass of torch.vmap serves all. A trainer's own
tensors are views of those, so its evaluation, probes and checkpoints are those of a trial that is trained alone. Each
seed keeps its start, its order, its augmentation, its mixing, its dropout masks and its own norm of gradients.

Shape suffixes: S seeds, P parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from orchestrator.errors import TrainingError
from orchestrator.models.stacked import GivenMask, draw_masks, find_draws, stack_modules, take_masks
from orchestrator.seeding import stream_seed
from orchestrator.training.loading import Batch
from orchestrator.training.loop import Trainer
from orchestrator.training.objective import Objective
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.recipe import build_optimizer, build_scheduler
from orchestrator.trial import Trial

TOLERANCES = {"fp32": 1e-2, "bf16": 0.2}
"""How far logits of the stack may be from those of a seed alone, over the largest; others are far off."""
COMMON_STATE = ("step",)
"""What an optimizer keeps once for all seeds, which are at the same step."""


def why_not_stacked(trial: Trial) -> str | None:
    """What keeps the seeds of a trial from being trained in one pass, or None."""
    model, recipe = trial.model, trial.train
    if recipe.optimizer == "lamb":
        return "lamb scales a step by norms of whole tensors, which would be those of all seeds"
    if model.attn_drop_rate > 0.0:
        return "attn_drop_rate draws inside fused attention, where no seed can have its own masks"
    if recipe.micro_batch_size is not None:
        return "micro_batch_size saves the memory that stacked seeds would take again"
    return None


class Stack:
    """Trainers at one place of their training, on one device.

    Raises:
        TrainingError: what is stacked does not compute what each trainer computes.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = tuple(trainers)
        first = trainers[0]
        trial, recipe = first.trial, first.trial.train
        self.model = stack_modules([trainer.model for trainer in trainers]).train()
        self.average = _stack_averages(trainers, self.model)
        self.optimizer = self._stack_optimizer()
        self.scheduler = build_scheduler(self.optimizer, recipe, first.num_steps)
        side = trial.model.img_size
        images = torch.zeros(first.batch.num_images, trial.data.in_chans, side, side, device=first.device)
        with first.autocast():
            self.draws = find_draws(first.model, images)
        take_masks(self.model, self.draws)
        self.loss = _Loss(self.model, trial, is_mixed=first.mixup is not None)
        self.parameters = list(self.model.parameters())
        self.numbers = _numbers_of(self.loss)
        self._losses = torch.vmap(self._loss_of_one, randomness="error")
        if first.settings.compile:
            self._losses = torch.compile(self._losses)
        self._check(images[:2])

    def train_step(self, batches: Iterable[Batch], epoch: int, step: int) -> Tensor:
        """One optimizer step of every seed; the cross-entropy of each, summed over its batch's images, [S] in float64.

        Args:
            batches: one a trainer, in their order.
        """
        first = self.trainers[0]
        self.scheduler.step_update((epoch - 1) * first.num_steps + step)
        pairs = zip(self.trainers, batches, strict=True)
        mixed = [trainer.mixed(*batch, epoch, step) for trainer, batch in pairs]
        images, labels = (torch.stack(parts) for parts in zip(*mixed, strict=True))
        masks = self._draw_masks(epoch, step)
        self.optimizer.zero_grad(set_to_none=True)
        with first.autocast(), _mapped_attention(first.device):
            losses_S, cross_entropies_S = self._losses(self.numbers | masks, images, labels)
        losses_S.sum().backward()
        if first.trial.train.clip_grad is not None:
            clip_gradients(self.parameters, first.trial.train.clip_grad)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        total_S: Tensor = cross_entropies_S.detach().double() * first.batch.num_images
        return total_S

    def hand_out(self, trainer: Trainer) -> None:
        """Let the optimizer of one of the trainers hold its own part of the state, as views."""
        if trainer not in self.trainers:
            return
        index = self.trainers.index(trainer)
        for own, stacked in zip(trainer.model.parameters(), self.model.parameters(), strict=True):
            if stacked in self.optimizer.state:
                state = self.optimizer.state[stacked]
                trainer.optimizer.state[own] = {name: _part(name, state[name], index) for name in state}
        for own_group, group in zip(trainer.optimizer.param_groups, self.optimizer.param_groups, strict=True):
            own_group.update({name: value for name, value in group.items() if name != "params"})

    def _stack_optimizer(self) -> torch.optim.Optimizer:
        """With the groups of the model that is trained alone: stacked, a bias looks like a matrix."""
        first = self.trainers[0]
        optimizer = build_optimizer(first.model, first.trial.train, first.trial.model)
        stacked = dict(zip(first.model.parameters(), self.model.parameters(), strict=True))
        for group in optimizer.param_groups:
            group["params"] = [stacked[own] for own in group["params"]]
        owns = zip(*(trainer.model.parameters() for trainer in self.trainers), strict=True)
        for parameter, own in zip(self.model.parameters(), owns, strict=True):
            states = [t.optimizer.state[p] for t, p in zip(self.trainers, own, strict=True) if p in t.optimizer.state]
            if states:
                optimizer.state[parameter] = {name: _join(name, [s[name] for s in states]) for name in states[0]}
        return optimizer

    def _draw_masks(self, epoch: int, step: int) -> dict[str, Tensor]:
        if not self.draws:
            return {}
        drawn = []
        for trainer in self.trainers:
            with seeded_globals(stream_seed(trainer.trial.seed, "dropout", epoch, step)):
                drawn.append(draw_masks(self.draws))
        return {f"model.{name}": torch.stack([masks[name] for masks in drawn]) for name in drawn[0]}

    def _loss_of_one(self, numbers: dict[str, Tensor], images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        loss: tuple[Tensor, Tensor] = functional_call(self.loss, numbers, (images, labels), tie_weights=False)
        return loss

    @torch.no_grad()
    def _check(self, images: Tensor) -> None:
        """Hold the stack's logits in evaluation against those of each seed; a user's own code may keep what differs."""
        first = self.trainers[0]
        images = torch.linspace(-1.0, 1.0, images.numel(), device=images.device).view_as(images)
        numbers = _numbers_of(self.model)

        def logits_of_one(numbers: dict[str, Tensor]) -> Tensor:
            logits: Tensor = functional_call(self.model, numbers, (images,), tie_weights=False)
            return logits

        alone = [
            self._logits_alone(trainer, images) for trainer in self.trainers
        ]  # kernels are checked outside of vmap
        self.model.eval()
        with first.autocast(), _mapped_attention(first.device):
            stacked = torch.vmap(logits_of_one, randomness="error")(numbers)
        self.model.train()
        for trainer, logits, expected in zip(self.trainers, stacked, alone, strict=True):
            error = float((logits - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
            if not error <= TOLERANCES[first.trial.train.precision]:
                raise TrainingError(f"stacked, seed {trainer.trial.seed} computes logits that are off by {error:.1e}")

    def _logits_alone(self, trainer: Trainer, images: Tensor) -> Tensor:
        was_training = trainer.model.training
        with trainer.autocast():
            logits: Tensor = trainer.model.eval()(images)
        trainer.model.train(was_training)
        return logits


class _Loss(nn.Module):
    """What torch.func can call with the numbers of one seed."""

    def __init__(self, model: nn.Module, trial: Trial, *, is_mixed: bool) -> None:
        super().__init__()
        self.model = model
        self.objective = Objective(model, trial, is_mixed=is_mixed)

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.objective(images, targets)


def _numbers_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by every name they have, so that none is left out where two modules share one."""
    masks = {f"{name}.mask" for name, part in module.named_modules() if isinstance(part, GivenMask)}
    numbers = {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
    return {name: value for name, value in numbers.items() if name not in masks}


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> None:
    """Scale each seed's gradients, [S, ...] each, down to `max_norm` together, as `nn.utils.clip_grad_norm_` does."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms_PS = torch.stack(
        [torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), dim=1) for gradient in gradients]
    )
    factors_S = (max_norm / (torch.linalg.vector_norm(norms_PS, dim=0) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factors_S.view(-1, *(1,) * (gradient.ndim - 1)))


def _stack_averages(trainers: Sequence[Trainer], model: nn.Module) -> ModelEmaV3 | None:
    decay = trainers[0].trial.train.ema_decay
    if decay is None:
        return None
    averages = [trainer.average.module for trainer in trainers if trainer.average is not None]
    average = ModelEmaV3(model, decay=decay)
    average.module = stack_modules(averages)
    return average


def _join(name: str, values: Sequence[Any]) -> Any:
    if name in COMMON_STATE or values[0] is None:
        return values[0].clone() if isinstance(values[0], Tensor) else values[0]
    return torch.stack(list(values))


def _part(name: str, value: Any, index: int) -> Any:
    if name in COMMON_STATE or value is None:
        return value.clone() if isinstance(value, Tensor) else value
    return value[index]


def _mapped_attention(device: torch.device) -> AbstractContextManager[object]:
    """Ways of torch's attention that are right under vmap: on a CPU none of the fused ones has a rule for it; on a GPU
    all but the flash one leave out what their backward pass reads (pytorch#158610), and that one takes no float32.
    """
    ways = [SDPBackend.MATH] if device.type == "cpu" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(ways)
