"""Attention maps in; maps with one mean and variance a head, or with one a pair of tokens, out.

Shape suffixes: B batch, N tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HeadNorm(nn.BatchNorm2d):
    """BatchNorm over heads: one mean and variance a head, over the batch and both token axes (eps 1e-5)."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, map_BHNN: Tensor, *, update: bool = True) -> Tensor:
        """[B,H,N,N] to the same shape; with `update` False the running statistics stay as they are."""
        if update or not self.training:
            return super().forward(map_BHNN)
        spent = self.running_mean.clone(), self.running_var.clone()
        return F.batch_norm(map_BHNN, *spent, self.weight, self.bias, True, self.momentum, self.eps)

    def forward_centred(self, map_BHNN: Tensor, offset_H: Tensor, *, update: bool = True) -> Tensor:
        """As `forward(map_BHNN + offset_H)`, without the rounding errors of that sum where the offset is large.

        A training batch's own mean takes any offset away; the running mean is kept with the offset in it, so that
        checkpoints hold what the plain formulation holds. Computes in the map's dtype.
        """
        dtype = map_BHNN.dtype
        mean_H, var_H = self.running_mean.to(dtype) - offset_H.detach(), self.running_var.to(dtype, copy=True)
        gamma_H, beta_H = self.weight.to(dtype), self.bias.to(dtype)
        if not self.training:
            shifted_BHNN = map_BHNN + (offset_H - self.running_mean)[:, None, None]
            return F.batch_norm(shifted_BHNN, torch.zeros_like(var_H), var_H, gamma_H, beta_H, eps=self.eps)
        beta_H = beta_H + 0.0 * offset_H  # in training the offset has the exact gradient zero, rather than none
        out_BHNN = F.batch_norm(map_BHNN, mean_H, var_H, gamma_H, beta_H, True, self.momentum, self.eps)
        if update:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.copy_(mean_H + offset_H)
                self.running_var.copy_(var_H)
        return out_BHNN


class HeadGain(nn.Module):
    """BatchNorm's gain without its centring: gamma_h x / sqrt(var_h + eps), eps 1e-5; see `GainOnly`."""

    running_var: Tensor

    def __init__(self, num_heads: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_heads))
        self.register_buffer("running_var", torch.ones(num_heads))

    def forward(self, map_BHNN: Tensor, *, update: bool = True) -> Tensor:
        """[B,H,N,N] to the same shape; with `update` False the running variance stays as it is."""
        var_H = self.running_var.to(map_BHNN.dtype)
        if self.training:
            var_H = map_BHNN.var(dim=(0, 2, 3), unbiased=False)
            if update:
                self._move(var_H.detach(), map_BHNN.numel() // len(var_H))
        gain_H = self.weight.to(map_BHNN.dtype) * (var_H + self.eps).rsqrt()
        return map_BHNN * gain_H[:, None, None]

    @torch.no_grad()
    def _move(self, var_H: Tensor, count: int) -> None:
        """Towards the batch's unbiased variance, as BatchNorm does."""
        unbiased_H = var_H * (count / max(1, count - 1))
        self.running_var.lerp_(unbiased_H.to(self.running_var.dtype), self.momentum)

    def parameter_draws(self) -> Mapping[str, Callable[[Tensor, torch.Generator], object]]:
        """The gain starts at 1."""
        return {"weight": lambda weight, _: weight.fill_(1.0)}


class HeadLayerNorm(nn.LayerNorm):
    """LayerNorm across heads at every pair of tokens (eps 1e-5)."""

    def forward(self, map_BHNN: Tensor) -> Tensor:
        """[B,H,N,N] to the same shape."""
        normalized_BNNH = super().forward(map_BHNN.permute(0, 2, 3, 1))
        return normalized_BNNH.permute(0, 3, 1, 2)
