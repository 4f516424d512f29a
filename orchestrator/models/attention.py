"""An `AttentionSpec` in; the attention module of one block out. One class an attention, and their registry.

Shape suffixes: B batch, N tokens, D embed_dim, H heads, K head_dim.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from torch import Tensor, nn

from orchestrator.catalog import is_dotted_attention
from orchestrator.errors import TrainingError
from orchestrator.models.context import ForwardContext
from orchestrator.models.head_norm import HeadNorm
from orchestrator.user_attention import import_root

Draw = Callable[[Tensor, torch.Generator], object]
"""Fills a parameter in place with its initial value, drawn from the generator."""

Normalize = Callable[[Tensor, bool], Tensor]
"""A softmax map [B,H,N,N], and whether running statistics may move, to the mixed and normalised map."""


@dataclass(frozen=True)
class AttentionSpec:
    """All that an attention is built from."""

    dim: int
    """Channels of the residual stream; a multiple of `num_heads`."""
    num_heads: int
    block_idx: int = 0
    """Which block it serves, from 0."""
    depth: int = 1
    """Number of blocks of the model."""
    qkv_bias: bool = True
    attn_drop: float = 0.0
    proj_drop: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that the catalog names for this attention, with their values."""

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.dim // self.num_heads


class SelfAttention(Attention):
    """Softmax self-attention: timm's fused module; its plain path runs when the map is observed."""

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__(
            spec.dim, spec.num_heads, qkv_bias=spec.qkv_bias, attn_drop=spec.attn_drop, proj_drop=spec.proj_drop
        )
        self.block_idx = spec.block_idx

    def forward(self, x_BND: Tensor, context: ForwardContext | None = None) -> Tensor:  # type: ignore[override]
        """Attend over the tokens: [B,N,D] to [B,N,D]."""
        if context is None or not context.is_observed:
            fused_BND: Tensor = super().forward(x_BND)
            return fused_BND
        q_BHNK, k_BHNK, v_BHNK = split_heads(self.qkv(x_BND), self.num_heads)
        map_BHNN = (q_BHNK * self.scale @ k_BHNK.transpose(-2, -1)).softmax(dim=-1)
        context.observe(self.block_idx, "softmax", map_BHNN)
        map_BHNN = self.attn_drop(map_BHNN)
        context.observe(self.block_idx, "map", map_BHNN)
        out_BND: Tensor = self.proj_drop(self.proj(merge_heads(map_BHNN @ v_BHNK)))
        return out_BND


class ReAttention(nn.Module):
    """Re-attention: Norm(Theta softmax(QK'/sqrt(K))) V, heads mixed by Theta (DeepViT, arXiv 2103.11886, section 4.2).

    Follows the published code: Theta is a 1x1 convolution over heads with bias, Norm is BatchNorm over heads.
    Parameters bear the names of official checkpoints.
    """

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        options = {"reattention_norm": "batchnorm", "reattention_init": "random", "reattention_scale": "none"}
        options |= {name: value for name, value in spec.options.items() if value is not None}
        self.num_heads, self.block_idx = spec.num_heads, spec.block_idx
        self.scale = spec.head_dim**-0.5
        self.map_scale = spec.head_dim**-0.5 if options["reattention_scale"] == "head_dim" else 1.0
        self.identity_init = options["reattention_init"] == "identity"
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim, bias=spec.qkv_bias)
        self.attn_drop = nn.Dropout(spec.attn_drop)
        self.reatten_matrix = nn.Conv2d(spec.num_heads, spec.num_heads, kernel_size=1)
        self.var_norm = HeadNorm(spec.num_heads) if options["reattention_norm"] == "batchnorm" else None
        self.proj = nn.Linear(spec.dim, spec.dim)
        self.proj_drop = nn.Dropout(spec.proj_drop)

    def forward(self, x_BND: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Attend over the tokens: [B,N,D] to [B,N,D]."""
        context = context or ForwardContext()
        q_BHNK, k_BHNK, v_BHNK = split_heads(self.qkv(x_BND), self.num_heads)
        logits_BHNN = q_BHNK * self.scale @ k_BHNK.transpose(-2, -1)
        map_BHNN = self._re_attend(logits_BHNN, context)
        context.observe(self.block_idx, "map", map_BHNN)
        out_BND: Tensor = self.proj_drop(self.proj(merge_heads(map_BHNN.to(v_BHNK.dtype) @ v_BHNK)))
        return out_BND

    def _re_attend(self, logits_BHNN: Tensor, context: ForwardContext) -> Tensor:
        """The re-attended map; in float32 where logits have fewer bits, since BatchNorm amplifies their rounding."""
        if logits_BHNN.dtype not in (torch.bfloat16, torch.float16):
            return self._mix(logits_BHNN, context, self._normalize)
        with torch.autocast(logits_BHNN.device.type, enabled=False):
            return self._mix(logits_BHNN.float(), context, self._normalize_centred)

    def _mix(self, logits_BHNN: Tensor, context: ForwardContext, normalize: Normalize) -> Tensor:
        softmax_BHNN = logits_BHNN.softmax(dim=-1)
        context.observe(self.block_idx, "softmax", softmax_BHNN)
        map_BHNN = normalize(self.attn_drop(softmax_BHNN), not context.is_recompute)
        return map_BHNN if self.map_scale == 1.0 else map_BHNN * self.map_scale

    def _normalize(self, map_BHNN: Tensor, update: bool) -> Tensor:
        """Theta and BatchNorm as published."""
        mixed_BHNN: Tensor = self.reatten_matrix(map_BHNN)
        return mixed_BHNN if self.var_norm is None else self.var_norm(mixed_BHNN, update=update)

    def _normalize_centred(self, map_BHNN: Tensor, update: bool) -> Tensor:
        """The same from the map minus 1/N: Theta A + c = Theta (A - 1/N) + offset, offset = Theta 1/N + c."""
        theta_HH11, bias_H, num_tokens = self.reatten_matrix.weight, self.reatten_matrix.bias, map_BHNN.shape[-1]
        assert bias_H is not None
        theta_HH11, bias_H = theta_HH11.to(map_BHNN.dtype), bias_H.to(map_BHNN.dtype)
        mixed_BHNN = F.conv2d(map_BHNN - 1.0 / num_tokens, theta_HH11)
        offset_H = theta_HH11.sum(dim=(1, 2, 3)) / num_tokens + bias_H
        if self.var_norm is None:
            return mixed_BHNN + offset_H[:, None, None]
        return self.var_norm.forward_centred(mixed_BHNN, offset_H, update=update)

    def parameter_draws(self) -> Mapping[str, Draw]:
        """How parameters start that do not start as their module type does, by name."""
        if not self.identity_init:
            return {}
        return {
            "reatten_matrix.weight": lambda weight, _: nn.init.dirac_(weight),
            "reatten_matrix.bias": lambda bias, _: nn.init.zeros_(bias),
        }


def split_heads(qkv_BNE: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [B,H,N,K] from their joint projection [B,N,3*H*K]."""
    batch, num_tokens, channels = qkv_BNE.shape
    qkv = qkv_BNE.reshape(batch, num_tokens, 3, num_heads, channels // (3 * num_heads)).permute(2, 0, 3, 1, 4)
    q_BHNK, k_BHNK, v_BHNK = qkv.unbind(0)
    return q_BHNK, k_BHNK, v_BHNK


def merge_heads(x_BHNK: Tensor) -> Tensor:
    """[B,H,N,K] to [B,N,H*K]."""
    return x_BHNK.transpose(1, 2).flatten(2)


ATTENTION_CLASSES: Mapping[str, type[nn.Module]] = {
    "self": SelfAttention,
    "reattention": ReAttention,
}


def attention_class(name: str) -> type[nn.Module]:
    """The class of an attention of the catalog, or a user's own by dotted path.

    Raises:
        TrainingError: a user's class cannot be imported, or is no torch.nn.Module.
    """
    return _import_class(name) if is_dotted_attention(name) else ATTENTION_CLASSES[name]


def _import_class(dotted: str) -> type[nn.Module]:
    root = str(import_root(dotted))
    if root not in sys.path:
        sys.path.insert(0, root)
    module_name, _, class_name = dotted.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises while it is imported
        raise TrainingError(
            f"the attention {dotted!r} cannot be imported: {type(error).__name__}: {error}; "
            f"`python -c 'import {module_name}'` shows where"
        ) from error
    cls = getattr(module, class_name, None)
    if cls is None:
        raise TrainingError(f"the attention {dotted!r} cannot be found: {module.__file__} defines no {class_name!r}")
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise TrainingError(f"the attention {dotted!r} is no torch.nn.Module class: it is {cls!r}")
    return cls
