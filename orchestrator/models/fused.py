"""`mix_values` as fused kernels: queries, keys, values and Theta on a GPU in; summed values out, no map in memory.

Nobody takes the kernels on trust: before they serve a kind of tensors they are held against `mix_values` in float64 on
a small drawn input, forward and backward. What they cannot do, or do wrong, is logged once, and the maps are kept.

Shape suffixes: B batch, N tokens, H heads, K head_dim.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from orchestrator.models.map_free import mix_values, one_by_one

log = logging.getLogger("orchestrator")

MAX_HEADS, MIN_HEAD_DIM, MAX_HEAD_DIM, MAX_TOKENS = 16, 16, 64, 1024
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 1e-2}
"""How far a tensor may be from its reference, over the norm of that; a type that is not here is not supported.

Rounding operands to bfloat16 makes 4e-3.
"""
LOG2_E = 1.4426950408889634

_verdicts: dict[tuple[object, ...], str | None] = {}
"""Kind of tensors to what is against the kernels, or None."""


def can_fuse(q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, theta_HH: Tensor) -> bool:
    """Whether `mix_fused` serves such tensors; the first of a kind pay for a check, and a no is logged with its reason.

    The kind is device, types of v and Theta, heads, head_dim and tokens: what a compiled kernel has as constants. The
    first of a kind must not come inside torch.vmap, where nothing can be checked.

    Raises:
        torch.OutOfMemoryError: as `failed_check`; nothing is decided then.
    """
    _, num_heads, num_tokens, head_dim = v_BHNK.shape
    kind = v_BHNK.device, v_BHNK.dtype, theta_HH.dtype, num_heads, head_dim, num_tokens
    if kind not in _verdicts:
        reason = why_not_fused(q_BHNK, k_BHNK, v_BHNK, theta_HH) or failed_check(v_BHNK)
        if reason is not None:
            log.warning("Re-attention keeps its attention maps, which costs memory and time: %s", reason)
        _verdicts[kind] = reason
    return _verdicts[kind] is None


def why_not_fused(q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, theta_HH: Tensor) -> str | None:
    """What about these tensors, this device or this installation the kernels do not support, or None."""
    device, dtype = v_BHNK.device, v_BHNK.dtype
    _, num_heads, num_tokens, head_dim = v_BHNK.shape
    if device.type != "cuda" and not is_interpreted():
        return f"the fused kernels need a CUDA device, and the tensors are on {device.type}"
    if not _has_triton():
        return "the fused kernels need triton, which is not installed"
    if dtype not in TOLERANCES or theta_HH.dtype != torch.float32:
        return f"the fused kernels take float32 or bfloat16 and Theta in float32, not {dtype} and {theta_HH.dtype}"
    if not q_BHNK.shape == k_BHNK.shape == v_BHNK.shape:
        return "the fused kernels take queries, keys and values of one shape"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return "the fused kernels need compute capability 8.0"
    return _why_not_shape(dtype, num_heads, num_tokens, head_dim)


def _why_not_shape(dtype: torch.dtype, num_heads: int, num_tokens: int, head_dim: int) -> str | None:
    if num_heads > MAX_HEADS:
        return f"the fused kernels take up to {MAX_HEADS} heads, not {num_heads}"
    if not MIN_HEAD_DIM <= head_dim <= MAX_HEAD_DIM:
        return f"the fused kernels take {MIN_HEAD_DIM} to {MAX_HEAD_DIM} channels a head, not {head_dim}"
    if dtype == torch.float32 and num_heads > 8 and head_dim > 32:
        return "in float32 the fused kernels have no room for more than 8 heads of more than 32 channels"
    if num_tokens > MAX_TOKENS:
        return f"the fused kernels take up to {MAX_TOKENS} tokens, not {num_tokens}"
    return None


def is_interpreted() -> bool:
    """Whether Triton's interpreter runs the kernels, on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def failed_check(like_BHNK: Tensor) -> str | None:
    """What is wrong with the kernels on two drawn images of this kind, or None; draws from no global stream.

    Raises:
        torch.OutOfMemoryError: the GPU is full, which says nothing of the kernels.
    """
    try:
        device_type = like_BHNK.device.type
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device_type, enabled=False):
            error, name = _largest_error(like_BHNK)
    except torch.OutOfMemoryError:
        raise
    except Exception as failure:  # whatever a compiler or a driver raises, the maps still work
        return f"the fused kernels do not run here: {type(failure).__name__}: {str(failure).strip()[:300]}"
    if error <= TOLERANCES[like_BHNK.dtype]:
        return None
    return f"the fused kernels are wrong here: {name} is off by {error:.1e} of its norm"


def _largest_error(like_BHNK: Tensor) -> tuple[float, str]:
    """Of output, mean square and gradients, over the norm of each, and whose it is."""
    _, num_heads, num_tokens, head_dim = like_BHNK.shape
    generator, device = torch.Generator().manual_seed(0), like_BHNK.device
    shapes = [(2, num_heads, num_tokens, head_dim)] * 4 + [(num_heads, num_heads), (num_heads,)]
    *drawn, theta_HH, of_square_H = (torch.randn(shape, generator=generator).to(device) for shape in shapes)
    q, k, v, of_out = (tensor.to(like_BHNK.dtype) for tensor in drawn)
    inputs = q, k, v, theta_HH / num_heads**0.5
    gradients = of_out, of_square_H * num_tokens**3  # so that both paths of the gradient count
    found = _results(mix_fused, inputs, gradients)
    expected = _results(mix_values, [x.double() for x in inputs], [x.double() for x in gradients])
    names = "output", "mean square", "q's gradient", "k's gradient", "v's gradient", "Theta's gradient"
    errors = [float((one - other).norm() / other.norm()) for one, other in zip(found, expected, strict=True)]
    worst = max(range(len(names)), key=lambda place: (errors[place] != errors[place], errors[place]))
    return errors[worst], names[worst]


def _results(mixer: Callable[..., tuple[Tensor, Tensor]], inputs: Any, gradients: Any) -> tuple[Tensor, ...]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    found = mixer(*leaves, leaves[0].shape[-1] ** -0.5)
    return tuple(tensor.detach() for tensor in (*found, *torch.autograd.grad(found, leaves, gradients)))


def mix_fused(q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, theta_HH: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """What `mix_values` returns: [B,H,N,K] in the type of v and [H] in float32, by the kernels; see `why_not_fused`.

    With bfloat16 inputs logits, softmax and sums are float32; the centred map, whose ripple on 1/N is then most of what
    there is, and Theta are rounded. Equal inputs of equal strides give equal bits. Queries and keys are rounded to the
    type of v, which has fewer bits than they where they come out of a norm under autocast.
    """
    inputs = _laid_alike(q_BHNK.to(v_BHNK.dtype), k_BHNK.to(v_BHNK.dtype), v_BHNK)
    mixed_BHNK, square_H, _ = _MixFused.apply(*inputs, theta_HH, scale)
    return mixed_BHNK, square_H


class _MixFused(torch.autograd.Function):
    """Keeps its inputs and log2 of each softmax row's sum, [B,H,N].

    Backward, keys and values come without their mean over the tokens where it changes no gradient, because what it is
    multiplied by sums to 0 over a row: only the roundings of what it adds would remain.
    """

    @staticmethod
    def forward(
        q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, theta_HH: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs, theta_HH = _laid_alike(q_BHNK, k_BHNK, v_BHNK), theta_HH.contiguous()
        launch = _Launch(inputs[0], scale)
        out_BHNK = launch.new_tile()
        log_sums_BHN = launch.new_numbers(*q_BHNK.shape[:3])
        squares = launch.new_numbers(launch.num_programs(launch.own_forward), launch.parts, launch.heads)
        launch.run("forward_kernel", launch.own_forward, *inputs, theta_HH, out_BHNK, log_sums_BHN, squares)
        return out_BHNK, squares.sum((0, 1))[: launch.num_heads] / launch.count, log_sums_BHN

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *qkv, theta_HH, ctx.scale = inputs
        log_sums_BHN = output[2]
        ctx.mark_non_differentiable(log_sums_BHN)
        ctx.save_for_backward(*_laid_alike(*qkv), theta_HH.contiguous(), log_sums_BHN)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return one_by_one(_MixFused.apply, info.batch_size, in_dims, inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        q_BHNK, k_BHNK, v_BHNK, theta_HH, log_sums_BHN = ctx.saved_tensors
        launch = _Launch(q_BHNK, ctx.scale)
        own = launch.own_backward
        centred_k_BHNK, centred_v_BHNK = launch.centred(k_BHNK), launch.centred(v_BHNK)
        of_out_BHNK = gradients[0].transpose(1, 2).contiguous().transpose(1, 2)
        slopes_H = gradients[1].float() * (2.0 / launch.count)
        given = theta_HH, of_out_BHNK, slopes_H, log_sums_BHN
        of_q, of_k, of_v = (launch.new_tile() for _ in range(3))
        row_dots_BHN = torch.empty_like(log_sums_BHN)
        of_theta = launch.new_numbers(launch.num_programs(own), *(launch.parts, launch.heads) * 2)
        rows = q_BHNK, k_BHNK, centred_k_BHNK, centred_v_BHNK, *given, of_q, row_dots_BHN, of_theta
        launch.run("rows_kernel", own, *rows)
        launch.run("keys_kernel", own, q_BHNK, k_BHNK, centred_v_BHNK, *given, row_dots_BHN, of_k, of_v)
        of_theta_HH = of_theta.sum(0).diagonal(dim1=0, dim2=2).sum(-1)[: launch.num_heads, : launch.num_heads]
        return of_q, of_k, of_v, of_theta_HH, None


def _laid_alike(*tensors: Tensor) -> tuple[Tensor, ...]:
    """With the same strides, the last one 1: as they are, if they are parts of one projection."""
    strides = {tensor.stride() for tensor in tensors}
    is_alike = len(strides) == 1 and tensors[0].stride(-1) == 1
    return tensors if is_alike else tuple(tensor.contiguous() for tensor in tensors)


class _Launch:
    """Sizes of tiles for tensors like q, and their launches; outputs lie as [B,N,H,K], which merges heads for free."""

    def __init__(self, q_BHNK: Tensor, scale: float) -> None:
        from orchestrator.models import fused_kernels

        self.q, self.scale, self.kernels = q_BHNK, scale, fused_kernels
        self.num_images, self.num_heads, self.num_tokens, self.head_dim = q_BHNK.shape
        self.heads = next(size for size in (4, 8, 16) if size >= self.num_heads)
        self.parts = fused_kernels.SIDE.value // self.heads
        self.channels = next(size for size in (16, 32, 64) if size >= self.head_dim)
        self.own_forward, self.own_backward, self.step = _tile_sizes(self.heads, self.channels, q_BHNK.dtype)
        self.count = self.num_images * self.num_tokens**2

    def new_tile(self) -> Tensor:
        """[B,H,N,K] like q."""
        shape = self.num_images, self.num_tokens, self.num_heads, self.head_dim
        return torch.empty(shape, dtype=self.q.dtype, device=self.q.device).transpose(1, 2)

    def centred(self, tile_BHNK: Tensor) -> Tensor:
        """Without its mean over the tokens."""
        return torch.sub(tile_BHNK, tile_BHNK.mean(dim=2, keepdim=True), out=self.new_tile())

    def new_numbers(self, *shape: int) -> Tensor:
        """In float32."""
        return torch.empty(shape, dtype=torch.float32, device=self.q.device)

    def num_programs(self, size: int) -> int:
        """One for every `size` rows or keys of each image."""
        return self.num_images * -(-self.num_tokens // size)

    def run(self, name: str, size: int, *tensors: Tensor) -> None:
        """One kernel, whose programs own `size` rows or keys each."""
        import triton.language as tl

        rounded = tl.float32 if self.q.dtype == torch.float32 else tl.bfloat16
        factors = (self.scale * LOG2_E,) if name == "forward_kernel" else (self.scale * LOG2_E, self.scale)
        own, other = ("KEYS", "ROWS") if name == "keys_kernel" else ("ROWS", "KEYS")
        strides = *self.q.stride()[:3], self.num_tokens * self.num_heads * self.head_dim, self.head_dim
        with torch.cuda.device_of(self.q):
            getattr(self.kernels, name)[(self.num_programs(size),)](
                *tensors, *factors, *strides, self.num_heads * self.head_dim,
                num_tokens=self.num_tokens, num_heads=self.num_heads, head_dim=self.head_dim,
                HEADS=self.heads, CHANNELS=self.channels,
                rounded=rounded, operand=tl.float32 if is_interpreted() else rounded,
                **{own: size, other: self.step},
                num_warps=self.kernels.NUM_WARPS.value, num_stages=1 if rounded is tl.float32 else 2,
                enable_fp_fusion=True,
            )  # fmt: skip


def _tile_sizes(heads: int, channels: int, dtype: torch.dtype) -> tuple[int, int, int]:
    """What a program owns: rows forward, rows or keys backward; and how many of the others it takes at a time.

    As much as registers hold, for the more it owns the less often the others are loaded.
    """
    if dtype == torch.float32:
        return 16, 16, 16
    backward = 16 if heads * channels > 512 else 32
    return (64 if heads <= 8 and channels >= 32 else backward), backward, 16
