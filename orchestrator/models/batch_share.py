"""What a module that looks across the images of a batch needs when several processes train on one batch together.

Each process has a share of the images; statistics are those of the whole batch, with their gradients. Collectives go
through torch.distributed's default group. Shape suffixes: B images of this process, N tokens, H heads, R processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from timm.layers.drop import DropPath, drop_path
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from orchestrator.catalog import is_dotted_attention
from orchestrator.configs import ModelConfig
from orchestrator.errors import TrainingError


@dataclass
class BatchShare:
    """This process's share of the batches of a group of processes."""

    rank: int
    size: int
    num_images: int | None = None
    """Images that all processes together have in the forward pass; None where this process works alone."""

    def rows(self, num_images: int) -> slice:
        """The share of a batch: consecutive images, the shares equal but for one image."""
        return slice(num_images * self.rank // self.size, num_images * (self.rank + 1) // self.size)

    def sizes(self, num_images: int) -> list[int]:
        """Images of each process's share."""
        ends = [num_images * rank // self.size for rank in range(self.size + 1)]
        return [end - start for start, end in pairwise(ends)]

    def count(self, map_BHNN: Tensor) -> int:
        """Numbers a head that all processes together have in the maps of the batch in the forward pass."""
        assert self.num_images is not None
        return self.num_images * map_BHNN[0, 0].numel()

    @contextmanager
    def of(self, num_images: int) -> Iterator[None]:
        """What is computed inside belongs to a batch of that many images."""
        self.num_images = num_images
        try:
            yield
        finally:
            self.num_images = None


class SharesBatches:
    """Mark of a module whose output for one image depends on the others: it must use `share` where that is active."""

    share: BatchShare | None = None

    @property
    def is_shared(self) -> bool:
        """Whether the batch in the forward pass is one of several processes."""
        return self.share is not None and self.share.num_images is not None


class SharedDropPath(SharesBatches, nn.Module):
    """timm's DropPath that draws for the whole batch, as one process would, and uses the draws of its own images."""

    def __init__(self, original: DropPath) -> None:
        super().__init__()
        self.drop_prob, self.scale_by_keep = original.drop_prob, original.scale_by_keep

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x_BND: Tensor) -> Tensor:
        """Drop whole branches: [B,N,D] to the same shape."""
        if self.share is None or self.share.num_images is None or not self.training:
            dropped: Tensor = drop_path(x_BND, self.drop_prob, self.training, self.scale_by_keep)
            return dropped
        ones = x_BND.new_ones((self.share.num_images,) + (1,) * (x_BND.ndim - 1))
        factors: Tensor = drop_path(ones, self.drop_prob, True, self.scale_by_keep)
        return x_BND * factors[self.share.rows(self.share.num_images)]


def share_batches(model: nn.Module, share: BatchShare) -> None:
    """Make every module of `model` that looks across images look across those of all processes.

    Raises:
        TrainingError: a module normalises by the batch and knows nothing of shares.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, DropPath):
            module = SharedDropPath(module)
            model.set_submodule(name, module)
        if isinstance(module, SharesBatches):
            module.share = share
        elif isinstance(module, _BatchNorm):
            raise TrainingError(
                f"{name} ({type(module).__name__}) normalises by the images of its own process, so the trial would be "
                "another one on several; use orchestrator.models.head_norm.HeadNorm, or set resources.workers: 1"
            )


def draws_alone(model: nn.Module, config: ModelConfig) -> bool:
    """Whether forward passes draw for single activations, as dropout does, or may do so in a user's own attention.

    Such draws are each process's own; without any, all processes draw alike, and as one process would.
    """
    has_dropout = any(isinstance(module, _DropoutNd) and module.p > 0.0 for module in model.modules())
    return has_dropout or is_dotted_attention(config.attention)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def batch_moments(map_BHNN: Tensor, share: BatchShare) -> tuple[Tensor, Tensor]:
    """Mean and biased variance a head over the maps of all processes, differentiable."""
    assert share.num_images is not None
    moments: tuple[Tensor, Tensor] = _Moments.apply(map_BHNN, share.count(map_BHNN), share.sizes(share.num_images))
    return moments


class _Moments(torch.autograd.Function):
    """One gathering of moments forward, one sum of their gradients backward; keeps nothing but its input."""

    @staticmethod
    def forward(ctx: Any, map_BHNN: Tensor, count: int, sizes: list[int]) -> tuple[Tensor, Tensor]:
        var_H, mean_H = torch.var_mean(map_BHNN, dim=(0, 2, 3), correction=0)
        own = torch.stack([mean_H, var_H]).double()
        gathered = [torch.empty_like(own) for _ in sizes]
        dist.all_gather(gathered, own)
        means_RH, vars_RH = torch.stack(gathered, dim=1).unbind(0)
        weights_R1 = torch.tensor(sizes, dtype=torch.float64).to(own.device, non_blocking=True)[:, None] / sum(sizes)
        mean_H = (weights_R1 * means_RH).sum(0)
        var_H = (weights_R1 * (vars_RH + (means_RH - mean_H).square())).sum(0)
        mean_H, var_H = mean_H.to(map_BHNN.dtype), var_H.to(map_BHNN.dtype)
        ctx.save_for_backward(map_BHNN, mean_H)
        ctx.count = count
        return mean_H, var_H

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        map_BHNN, mean_H = ctx.saved_tensors
        of_moments_2H = torch.stack(gradients)
        dist.all_reduce(of_moments_2H)
        of_mean_H, of_var_H = (of_moments_2H / ctx.count).unbind(0)
        slope_H, constant_H = 2.0 * of_var_H, of_mean_H - 2.0 * of_var_H * mean_H
        of_map_BHNN = torch.addcmul(constant_H[:, None, None], map_BHNN, slope_H[:, None, None])
        return of_map_BHNN, None, None
