"""Models that differ only in their numbers in; one module that holds the numbers of all, stacked, out.

Each model's own tensors become views of the stacked ones, so whatever reads or writes a model goes on as before. Under
torch.vmap nothing may be drawn, so dropout takes its masks from outside; they are drawn by the modules of the model
that is trained alone, in its order, and so are those it would draw.

Shape suffixes: S models of a stack, B batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from orchestrator.errors import TrainingError


def stack_modules(modules: Sequence[nn.Module]) -> nn.Module:
    """A copy of the first module whose parameters and buffers are those of all, [S, ...]; theirs become views of them.

    It cannot be called: torch.func.functional_call under torch.vmap takes one model's numbers at a time.
    """
    stacked = copy.deepcopy(modules[0])
    states = [module.state_dict(keep_vars=True) for module in modules]
    for name, value in stacked.state_dict(keep_vars=True).items():
        value.data = torch.stack([state[name].detach() for state in states])
        for index, state in enumerate(states):
            state[name].data = value.data[index]
    return stacked


class GivenMask(nn.Module):
    """Dropout whose mask, zeros and the factor for what is kept, is handed in as a buffer."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.empty(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return x * self.mask if self.training else x


@dataclass(frozen=True)
class Draw:
    """A module that draws one mask in a forward pass."""

    name: str
    """Of the module in its model."""
    module: nn.Module
    like: Tensor
    """What it is given, as ones."""


def find_draws(model: nn.Module, images: Tensor) -> tuple[Draw, ...]:
    """The modules that draw in a forward pass of `model` in training, in their order; the model is left as it is.

    Args:
        images: any of the shape of a batch.

    Raises:
        TrainingError: one of them draws twice in a forward pass.
    """
    tried = copy.deepcopy(model).train()
    found: list[Draw] = []

    def seeing(name: str) -> Callable[..., None]:
        return lambda module, inputs: found.append(Draw(name, module, _ones_like(module, inputs[0])))

    modules = [(name, module) for name, module in tried.named_modules() if _draws(module)]
    hooks = [module.register_forward_pre_hook(seeing(name)) for name, module in modules]
    with torch.no_grad(), torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        tried(images)
    for hook in hooks:
        hook.remove()
    if len({draw.name for draw in found}) < len(found):
        raise TrainingError("a dropout module of the model is called twice in one forward pass")
    return tuple(found)


def take_masks(stacked: nn.Module, draws: Sequence[Draw]) -> None:
    """Put a `GivenMask` where `draws` were found."""
    for draw in draws:
        stacked.set_submodule(draw.name, GivenMask().train(stacked.training))


def draw_masks(draws: Sequence[Draw]) -> Mapping[str, Tensor]:
    """One model's masks of one forward pass, by the name of their buffer, from the global generators."""
    return {f"{draw.name}.mask": draw.module(draw.like) for draw in draws}


def _draws(module: nn.Module) -> bool:
    if isinstance(module, DropPath):
        return module.drop_prob > 0.0
    return isinstance(module, _DropoutNd) and module.p > 0.0


def _ones_like(module: nn.Module, x: Tensor) -> Tensor:
    """Ones of which `module` draws what it draws for `x`: a number an image for stochastic depth, else one a value."""
    return x.new_ones((len(x),) + (1,) * (x.ndim - 1)) if isinstance(module, DropPath) else torch.ones_like(x)
