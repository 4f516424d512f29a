"""Attention maps in; maps with one mean and variance a head, or with one a pair of tokens, out.

Shape suffixes: B batch, N tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.models.batch_share import SharesBatches, batch_moments


class HeadNorm(SharesBatches, nn.BatchNorm2d):
    """BatchNorm over heads: one mean and variance a head, over the batch and both token axes (eps 1e-5).

    Where several processes share a batch, it is the whole batch's.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, map_BHNN: Tensor, *, update: bool = True) -> Tensor:
        """[B,H,N,N] to the same shape; with `update` False the running statistics stay as they are."""
        if self.training and self.is_shared:
            return self._shared(map_BHNN, torch.zeros_like(self.bias), update)
        if update or not self.training:
            return super().forward(map_BHNN)
        spent = self.running_mean.clone(), self.running_var.clone()
        return F.batch_norm(map_BHNN, *spent, self.weight, self.bias, True, self.momentum, self.eps)

    def forward_centred(self, map_BHNN: Tensor, offset_H: Tensor, *, update: bool = True) -> Tensor:
        """As `forward(map_BHNN + offset_H)`, without the rounding errors of that sum where the offset is large.

        A training batch's own mean takes any offset away; the running mean is kept with the offset in it, so that
        checkpoints hold what the plain formulation holds. Computes in the map's dtype.
        """
        if self.training and self.is_shared:
            return self._shared(map_BHNN, offset_H, update)
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

    def fold(self, square_H: Tensor, offset_H: Tensor, count: int, *, update: bool) -> tuple[Tensor, Tensor]:
        """Gain and constant [H] by which `forward(map + offset)` = gain * map + constant, for a map whose mean is 0.

        Args:
            square_H: mean square of the map a head, over `count` numbers.
        """
        if not self.training:
            gain_H = self.weight * (self.running_var + self.eps).rsqrt()
            return gain_H, self.bias + gain_H * (offset_H - self.running_mean)
        if update:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                _move(self.running_mean, offset_H, self.momentum)
                _move_variance(self.running_var, square_H, count, self.momentum)
        gain_H = self.weight * (square_H + self.eps).rsqrt()
        return gain_H, self.bias + 0.0 * offset_H  # its gradient is exactly zero, rather than none

    def _shared(self, map_BHNN: Tensor, offset_H: Tensor, update: bool) -> Tensor:
        """As `forward_centred` in training, by the statistics of the batch of all processes."""
        dtype = map_BHNN.dtype
        assert self.share is not None
        mean_H, var_H = batch_moments(map_BHNN, self.share)
        gain_H = self.weight.to(dtype) * (var_H + self.eps).rsqrt()
        constant_H = self.bias.to(dtype) + 0.0 * offset_H - mean_H * gain_H
        if update:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                _move(self.running_mean, mean_H + offset_H, self.momentum)
                _move_variance(self.running_var, var_H, self.share.count(map_BHNN), self.momentum)
        return torch.addcmul(constant_H[:, None, None], map_BHNN, gain_H[:, None, None])


class HeadGain(SharesBatches, nn.Module):
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
            var_H, count = self._batch_variance(map_BHNN)
            if update:
                _move_variance(self.running_var, var_H.detach(), count, self.momentum)
        gain_H = self.weight.to(map_BHNN.dtype) * (var_H + self.eps).rsqrt()
        return map_BHNN * gain_H[:, None, None]

    def _batch_variance(self, map_BHNN: Tensor) -> tuple[Tensor, int]:
        """Biased variance a head, and the count it is over."""
        if self.share is not None and self.is_shared:
            return batch_moments(map_BHNN, self.share)[1], self.share.count(map_BHNN)
        return map_BHNN.var(dim=(0, 2, 3), unbiased=False), map_BHNN.numel() // map_BHNN.shape[1]

    def parameter_draws(self) -> Mapping[str, Callable[[Tensor, torch.Generator], object]]:
        """The gain starts at 1."""
        return {"weight": lambda weight, _: weight.fill_(1.0)}


@torch.no_grad()
def _move_variance(running_H: Tensor, var_H: Tensor, count: int, momentum: float) -> None:
    """Towards the batch's unbiased variance, as BatchNorm does."""
    _move(running_H, var_H * (count / max(1, count - 1)), momentum)


def _move(running_H: Tensor, towards_H: Tensor, momentum: float) -> None:
    """In place by a copy: torch.vmap has no rule for lerp_."""
    running_H.copy_(running_H.lerp(towards_H.to(running_H.dtype), momentum))


class HeadLayerNorm(nn.LayerNorm):
    """LayerNorm across heads at every pair of tokens (eps 1e-5)."""

    def forward(self, map_BHNN: Tensor) -> Tensor:
        """[B,H,N,N] to the same shape."""
        normalized_BNNH = super().forward(map_BHNN.permute(0, 2, 3, 1))
        return normalized_BNNH.permute(0, 3, 1, 2)
