"""Queries, keys, values and Theta in; values summed by the mixed maps out, and no map kept for the backward pass.

Every softmax row sums to 1, so the mixed map Y = Theta A has the mean tau/N over any batch, tau the row sums of Theta,
and Theta (A - 1/N) is Y without its mean. BatchNorm then only needs the mean square of that, which is known after one
pass over the maps, and its scale multiplies the summed values instead of the map:

    BN(Theta A + c) V = a (Theta (A - 1/N)) V + beta 1'V,    a = gamma / sqrt(mean square + eps).

The conv bias c and tau cancel. Maps are computed a few images at a time, and again in the backward pass.

Shape suffixes: B batch, N tokens, H heads, K head_dim, P the heads of all images of a portion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

BYTES_AT_A_TIME = 2**19
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
    """Keeps its inputs and nothing else. `torch.bmm` copies no map, where `@` of four dimensions often does."""

    @staticmethod
    def forward(
        q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, theta_HH: Tensor, scale: float
    ) -> tuple[Tensor, Tensor]:
        out_BHNK = torch.empty_like(v_BHNK.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        square_H = theta_HH.new_zeros(theta_HH.shape[0])
        for images in _portions(q_BHNK):
            q_PNK = (q_BHNK[images] * scale).flatten(0, 1)
            k_PNK, v_PNK = k_BHNK[images].flatten(0, 1), v_BHNK[images].flatten(0, 1)
            softmax_PNN = _softmax_map(q_PNK, k_PNK)
            mixed_PNN = _mix(theta_HH, softmax_PNN.sub_(_mean(softmax_PNN)))
            square_H += torch.linalg.vector_norm(_by_head(mixed_PNN, theta_HH), dim=(0, 2)).square()
            out_BHNK[images] = torch.bmm(mixed_PNN, v_PNK).view_as(q_BHNK[images])
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
        slope_H1 = (of_square_H * (2.0 / _count(q_BHNK)))[:, None]
        of_q, of_k, of_v = (torch.empty_like(tensor) for tensor in (q_BHNK, k_BHNK, v_BHNK))
        of_theta_HH = torch.zeros_like(theta_HH)
        for images in _portions(q_BHNK):
            q_PNK = (q_BHNK[images] * ctx.scale).flatten(0, 1)
            of_out_PNK = of_out_BHNK[images].flatten(0, 1)
            k_PNK, v_PNK = k_BHNK[images].flatten(0, 1), v_BHNK[images].flatten(0, 1)
            softmax_PNN = _softmax_map(q_PNK, k_PNK)
            centred_PNN = softmax_PNN - _mean(softmax_PNN)
            mixed_PNN = _mix(theta_HH, centred_PNN)
            of_v[images] = torch.bmm(mixed_PNN.mT, of_out_PNK).view_as(of_v[images])
            _by_head(mixed_PNN, theta_HH).mul_(slope_H1)  # in place, as is the next line: nobody needs it any more
            of_mixed_PNN = mixed_PNN.baddbmm_(of_out_PNK, v_PNK.mT)
            of_theta_HH += torch.bmm(_by_head(of_mixed_PNN, theta_HH), _by_head(centred_PNN, theta_HH).mT).sum(0)
            of_logits_PNN = _softmax_backward(_mix(theta_HH.T, of_mixed_PNN), softmax_PNN)
            of_q[images] = torch.bmm(of_logits_PNN, k_PNK).mul_(ctx.scale).view_as(of_q[images])
            of_k[images] = torch.bmm(of_logits_PNN.mT, q_PNK).view_as(of_k[images])
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


def _portions(q_BHNK: Tensor) -> Iterator[slice]:
    """Images whose maps are worked on together, at least one."""
    num_images, num_heads, num_tokens, _ = q_BHNK.shape
    size = max(1, BYTES_AT_A_TIME // (num_heads * num_tokens**2 * q_BHNK.element_size()))
    for start in range(0, num_images, size):
        yield slice(start, start + size)


def _count(q_BHNK: Tensor) -> int:
    """Numbers of one head's maps."""
    num_images, _, num_tokens, _ = q_BHNK.shape
    return num_images * num_tokens**2


def _softmax_map(q_PNK: Tensor, k_PNK: Tensor) -> Tensor:
    return torch.bmm(q_PNK, k_PNK.mT).softmax(dim=-1)


def _mean(softmax_PNN: Tensor) -> float:
    return 1.0 / softmax_PNN.shape[-1]


def _by_head(maps_PNN: Tensor, theta_HH: Tensor) -> Tensor:
    """The maps as [images, H, all numbers of a map], the same memory."""
    return maps_PNN.view(-1, len(theta_HH), maps_PNN.shape[1] * maps_PNN.shape[2])


def _mix(theta_HH: Tensor, maps_PNN: Tensor) -> Tensor:
    maps = _by_head(maps_PNN, theta_HH)
    return torch.bmm(theta_HH.expand(len(maps), -1, -1), maps).view_as(maps_PNN)


def _softmax_backward(of_softmax: Tensor, softmax: Tensor) -> Tensor:
    of_logits: Tensor = torch._softmax_backward_data(of_softmax, softmax, -1, softmax.dtype)
    return of_logits
