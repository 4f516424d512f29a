"""Queries, keys, values and Theta in; values summed by the mixed maps out, and no map kept for the backward pass.

Every softmax row sums to 1, so the mixed map Y = Theta A has the mean tau/N over any batch, tau the row sums of Theta,
and Theta (A - 1/N) is Y without its mean. BatchNorm then only needs the mean square of that, which is known after one
pass over the maps, and its scale multiplies the summed values instead of the map:

    BN(Theta A + c) V = a (Theta (A - 1/N)) V + beta 1'V,    a = gamma / sqrt(mean square + eps).

The conv bias c and tau cancel. Maps are computed a few images at a time, and again in the backward pass.

Shape suffixes: B batch, N tokens, H heads, K head_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

BYTES_AT_A_TIME = 2**18
"""Of the maps of as many images as are worked on together; a few times that stays in a processor's cache."""


def mix_values(q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, theta_HH: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Theta (A - 1/N) V with A = softmax(scale QK'), and the mean square of Theta (A - 1/N) over batch and tokens.

    Args:
        theta_HH: Theta[to, from].

    Returns:
        [B,H,N,K] and [H]; both are differentiable in all tensors.
    """
    mixed: tuple[Tensor, Tensor] = _MixValues.apply(q_BHNK, k_BHNK, v_BHNK, theta_HH, scale)
    return mixed


class _MixValues(torch.autograd.Function):
    """Keeps its inputs and nothing else."""

    @staticmethod
    def forward(
        q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, theta_HH: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        out_BHNK = torch.empty_like(v_BHNK, memory_format=torch.contiguous_format)
        square_H = theta_HH.new_zeros(theta_HH.shape[0])
        for images, rows in _portions(q_BHNK):
            k, v = k_BHNK[images], v_BHNK[images]
            mixed = _mix(theta_HH, _centre(_softmax_map(q_BHNK[images, :, rows] * scale, k)))
            square_H += torch.linalg.vector_norm(mixed, dim=(0, 2, 3)).square()
            out_BHNK[images, :, rows] = mixed @ v
        return out_BHNK, square_H / _count(q_BHNK)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.scale = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return one_by_one(_MixValues.apply, info.batch_size, in_dims, inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        q_BHNK, k_BHNK, v_BHNK, theta_HH = ctx.saved_tensors
        of_out_BHNK, of_square_H = gradients
        slope_H11 = (of_square_H * (2.0 / _count(q_BHNK)))[:, None, None]
        of_q, of_k, of_v = torch.empty_like(q_BHNK), torch.zeros_like(k_BHNK), torch.zeros_like(v_BHNK)
        of_theta_HH = torch.zeros_like(theta_HH)
        for images, rows in _portions(q_BHNK):
            q, of_out = q_BHNK[images, :, rows] * ctx.scale, of_out_BHNK[images, :, rows]
            k, v = k_BHNK[images], v_BHNK[images]
            softmax = _softmax_map(q, k)
            centred = _centre(softmax)
            mixed = _mix(theta_HH, centred)
            of_v[images] += mixed.transpose(-2, -1) @ of_out
            of_mixed = torch.addcmul(of_out @ v.transpose(-2, -1), mixed, slope_H11)
            of_theta_HH += (of_mixed.flatten(2) @ centred.flatten(2).transpose(-2, -1)).sum(0)
            of_logits = _softmax_backward(_mix(theta_HH.T, of_mixed), softmax)
            of_q[images, :, rows] = of_logits @ k * ctx.scale
            of_k[images] += of_logits.transpose(-2, -1) @ q
        return of_q, of_k, of_v, of_theta_HH, None


def one_by_one(
    function: Callable[..., tuple[Tensor, ...]], num_models: int, in_dims: tuple[int | None, ...], inputs: Sequence[Any]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """A rule for torch.vmap: `function` for each of the stacked models in turn; its outputs stacked, and along what.

    Args:
        in_dims: along which dimension each input is stacked; None for one that is the same for all.
    """
    rows = []
    for index in range(num_models):
        own = [x if dim is None else x.select(dim, index) for x, dim in zip(inputs, in_dims, strict=True)]
        rows.append(function(*own))
    outputs = tuple(torch.stack(parts) for parts in zip(*rows, strict=True))
    return outputs, (0,) * len(outputs)


def _portions(q_BHNK: Tensor) -> Iterator[tuple[slice, slice]]:
    """Images and rows of their maps that are worked on together: whole maps of a few images, or a part of one's."""
    num_images, num_heads, num_tokens, _ = q_BHNK.shape
    num_rows = max(1, BYTES_AT_A_TIME // (num_heads * num_tokens * q_BHNK.element_size()))
    size = max(1, num_rows // num_tokens)
    for start in range(0, num_images, size):
        for row in range(0, num_tokens, num_rows):
            yield slice(start, start + size), slice(row, row + num_rows)


def _count(q_BHNK: Tensor) -> int:
    """Numbers of one head's maps."""
    num_images, _, num_tokens, _ = q_BHNK.shape
    return num_images * num_tokens**2


def _softmax_map(q: Tensor, k: Tensor) -> Tensor:
    return (q @ k.transpose(-2, -1)).softmax(dim=-1)


def _centre(softmax: Tensor) -> Tensor:
    """Minus its mean, which is 1/N."""
    return softmax - 1.0 / softmax.shape[-1]


def _mix(theta_HH: Tensor, maps: Tensor) -> Tensor:
    return (theta_HH @ maps.flatten(2)).view_as(maps)


def _softmax_backward(of_softmax: Tensor, softmax: Tensor) -> Tensor:
    of_logits: Tensor = torch._softmax_backward_data(of_softmax, softmax, -1, softmax.dtype)
    return of_logits
