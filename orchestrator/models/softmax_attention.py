"""An `AttentionSpec` in; the attention module of one block out. The parts that every attention is made of.

Shape suffixes: B batch, N tokens, D embed_dim, H heads, K head_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.layers.norm import LayerNorm
from torch import Tensor, nn

from orchestrator.catalog import FEW_TOKENS, OPTION_DEFAULTS
from orchestrator.models.context import ForwardContext

Draw = Callable[[Tensor, torch.Generator], object]
"""Fills a parameter in place with its initial value, drawn from the generator."""

HALF = (torch.bfloat16, torch.float16)
"""Types with so few bits that softmax, mixing and norms are computed in float32 instead."""


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
    qk_norm: bool = False
    """LayerNorm on queries and on keys, over the channels of a head."""
    attn_drop: float = 0.0
    proj_drop: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options that the catalog names for this attention, with their values."""

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.dim // self.num_heads

    def option(self, name: str) -> Any:
        """The value of an option, or the catalog's default where none is set."""
        value = self.options.get(name)
        return OPTION_DEFAULTS[name] if value is None else value


class SelfAttention(Attention):
    """Softmax self-attention: timm's fused module; its plain path runs when the map is observed.

    Of few tokens a CPU keeps the map while it trains, because that is faster than the fused kernel.
    """

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__(
            spec.dim,
            spec.num_heads,
            qkv_bias=spec.qkv_bias,
            qk_norm=spec.qk_norm,
            attn_drop=spec.attn_drop,
            proj_drop=spec.proj_drop,
            norm_layer=LayerNorm,
        )
        self.block_idx = spec.block_idx

    def forward(self, x_BND: Tensor, context: ForwardContext | None = None) -> Tensor:  # type: ignore[override]
        """Attend over the tokens: [B,N,D] to [B,N,D]."""
        if context is None or not context.is_observed:
            if self._is_faster_with_map(x_BND):
                short_BND: Tensor = self.proj_drop(self.proj(attend_few(self.qkv(x_BND), self.num_heads)))
                return short_BND
            fused_BND: Tensor = super().forward(x_BND)
            return fused_BND
        q_BHNK, k_BHNK, v_BHNK = split_heads(self.qkv(x_BND), self.num_heads)
        q_BHNK, k_BHNK = self.q_norm(q_BHNK), self.k_norm(k_BHNK)
        map_BHNN = (q_BHNK * self.scale @ k_BHNK.transpose(-2, -1)).softmax(dim=-1)
        context.observe(self.block_idx, "softmax", map_BHNN)
        map_BHNN = self.attn_drop(map_BHNN)
        context.observe(self.block_idx, "map", map_BHNN)
        out_BND: Tensor = self.proj_drop(self.proj(merge_heads(map_BHNN @ v_BHNK)))
        return out_BND

    def _is_faster_with_map(self, x_BND: Tensor) -> bool:
        is_changed = not isinstance(self.q_norm, nn.Identity) or (self.training and self.attn_drop.p > 0.0)
        is_rounded = x_BND.dtype in HALF or torch.is_autocast_enabled("cpu")
        is_few = x_BND.device.type == "cpu" and x_BND.shape[1] < FEW_TOKENS
        return is_few and torch.is_grad_enabled() and not (is_changed or is_rounded)


class SoftmaxAttention(nn.Module):
    """Plain softmax attention in steps, of which a subclass changes one; fused unless its map is observed."""

    def __init__(self, spec: AttentionSpec) -> None:
        super().__init__()
        self.num_heads, self.block_idx = spec.num_heads, spec.block_idx
        self.scale = spec.head_dim**-0.5
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim, bias=spec.qkv_bias)
        self.q_norm = LayerNorm(spec.head_dim) if spec.qk_norm else nn.Identity()
        self.k_norm = LayerNorm(spec.head_dim) if spec.qk_norm else nn.Identity()
        self.attn_drop = nn.Dropout(spec.attn_drop)
        self.make_parts(spec)
        self.proj = nn.Linear(spec.dim, spec.dim)
        self.proj_drop = nn.Dropout(spec.proj_drop)

    def make_parts(self, spec: AttentionSpec) -> None:
        """Make what only this attention has; between qkv and proj, the order of official DeepViT checkpoints."""

    def forward(self, x_BND: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Attend over the tokens: [B,N,D] to [B,N,D]."""
        context = context or ForwardContext()
        q_BHNK, k_BHNK, v_BHNK = split_heads(self.qkv(x_BND), self.num_heads)
        q_BHNK, k_BHNK = self.change_queries(self.q_norm(q_BHNK)), self.k_norm(k_BHNK)
        heads_BHNK = self.attend(q_BHNK, k_BHNK, self.change_values(v_BHNK, context), context)
        out_BND: Tensor = self.proj_drop(self.proj(merge_heads(heads_BHNK)))
        return self.change_output(out_BND)

    def attend(self, q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, context: ForwardContext) -> Tensor:
        """softmax(QK'/sqrt(K)) V."""
        if not context.is_observed:
            dropout = self.attn_drop.p if self.training else 0.0
            return F.scaled_dot_product_attention(q_BHNK, k_BHNK, v_BHNK, dropout_p=dropout)
        map_BHNN = (q_BHNK * self.scale @ k_BHNK.transpose(-2, -1)).softmax(dim=-1)
        context.observe(self.block_idx, "softmax", map_BHNN)
        map_BHNN = self.attn_drop(map_BHNN)
        context.observe(self.block_idx, "map", map_BHNN)
        heads_BHNK: Tensor = map_BHNN.to(v_BHNK.dtype) @ v_BHNK
        return heads_BHNK

    def change_queries(self, q_BHNK: Tensor) -> Tensor:
        """What becomes of the queries before they meet the keys."""
        return q_BHNK

    def change_values(self, v_BHNK: Tensor, context: ForwardContext) -> Tensor:
        """What becomes of the values before they are summed."""
        return v_BHNK

    def change_output(self, out_BND: Tensor) -> Tensor:
        """What becomes of the projected output."""
        return out_BND


class MapAttention(SoftmaxAttention):
    """Attention that changes logits or map, and so keeps them; in float32 where the inputs have fewer bits."""

    drops_last = False
    """Whether dropout acts on the changed map; else it acts on the softmax, as in the published Re-attention."""

    def attend(self, q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, context: ForwardContext) -> Tensor:
        """The attention map times V."""
        logits_BHNN = q_BHNK * self.scale @ k_BHNK.transpose(-2, -1)
        if logits_BHNN.dtype in HALF:
            with torch.autocast(logits_BHNN.device.type, enabled=False):
                map_BHNN = self.attention_map(logits_BHNN.float(), context, is_rounded=True)
        else:
            map_BHNN = self.attention_map(logits_BHNN, context, is_rounded=False)
        context.observe(self.block_idx, "map", map_BHNN)
        return map_BHNN.to(v_BHNK.dtype) @ v_BHNK

    def attention_map(self, logits_BHNN: Tensor, context: ForwardContext, *, is_rounded: bool) -> Tensor:
        """The map that multiplies V; `is_rounded` says that the logits come from fewer bits than they have now."""
        softmax_BHNN = self.change_logits(logits_BHNN, context).softmax(dim=-1)
        context.observe(self.block_idx, "softmax", softmax_BHNN)
        may_move = not context.is_recompute
        map_BHNN = softmax_BHNN if self.drops_last else self.attn_drop(softmax_BHNN)
        map_BHNN = self.change_map(map_BHNN, may_move=may_move, is_rounded=is_rounded)
        return self.attn_drop(map_BHNN) if self.drops_last else map_BHNN

    def change_logits(self, logits_BHNN: Tensor, context: ForwardContext) -> Tensor:
        """What becomes of the logits before the softmax."""
        return logits_BHNN

    def change_map(self, map_BHNN: Tensor, *, may_move: bool, is_rounded: bool) -> Tensor:
        """What becomes of the softmax map; running statistics stay as they are unless they `may_move`."""
        return map_BHNN


def split_heads(qkv_BNE: Tensor, num_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [B,H,N,K] from their joint projection [B,N,3*H*K]."""
    batch, num_tokens, channels = qkv_BNE.shape
    qkv = qkv_BNE.reshape(batch, num_tokens, 3, num_heads, channels // (3 * num_heads)).permute(2, 0, 3, 1, 4)
    q_BHNK, k_BHNK, v_BHNK = qkv.unbind(0)
    return q_BHNK, k_BHNK, v_BHNK


def attend_few(qkv_BNE: Tensor, num_heads: int) -> Tensor:
    """softmax(QK'/sqrt(K)) V from the joint projection [B,N,3*H*K], as [B,N,H*K].

    Every factor is copied into one piece first, and maps are kept with queries along the last axis, where a softmax
    over keys works on many queries at once. With 17 tokens that takes three quarters of the fused kernel's time.
    """
    batch, num_tokens, channels = qkv_BNE.shape
    head_dim = channels // (3 * num_heads)
    parts = qkv_BNE.reshape(batch, num_tokens, 3, num_heads, head_dim).permute(2, 0, 3, 1, 4).contiguous()
    q_XNK, k_XNK, v_XNK = parts.flatten(1, 2).unbind(0)  # X: heads of all images
    nothing = q_XNK.new_zeros(1, 1, 1)
    logits_XMN = torch.baddbmm(nothing, k_XNK, q_XNK.transpose(1, 2), beta=0, alpha=head_dim**-0.5)
    heads_XNK = logits_XMN.softmax(dim=1).transpose(1, 2) @ v_XNK
    return merge_heads(heads_XNK.view(batch, num_heads, num_tokens, head_dim))


def merge_heads(x_BHNK: Tensor) -> Tensor:
    """[B,H,N,K] to [B,N,H*K]."""
    return x_BHNK.transpose(1, 2).flatten(2)


def fill(value: float) -> Draw:
    """A start at one number."""
    return lambda tensor, _: tensor.fill_(value)
