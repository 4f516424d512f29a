"""An `AttentionSpec` in; timm's differential attention out, whose maps can be observed.

Shape suffixes: B batch, N tokens, D embed_dim, H heads, K head_dim.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from timm.layers.diff_attention import DiffAttention
from timm.layers.norm import LayerNorm, RmsNorm
from torch import Tensor, nn

from orchestrator.models.context import ForwardContext
from orchestrator.models.softmax_attention import HALF, AttentionSpec, Draw, fill, merge_heads

LAMBDAS = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")


class DifferentialAttention(DiffAttention):
    """(softmax(Q1 K1'/sqrt(K/2)) - lambda softmax(Q2 K2'/sqrt(K/2))) V, then RMSNorm a head (arXiv 2410.05258).

    timm's module: lambda starts near 0.8 - 0.6 exp(-0.3 block_idx), heads are scaled by one minus that. An observer
    gets the first softmax as `softmax` and the difference of both as `map`.
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
            depth=spec.block_idx,
        )
        self.block_idx = spec.block_idx
        self.sub_norm = HeadRmsNorm(spec.head_dim, eps=1e-5)

    def forward(self, x_BND: Tensor, context: ForwardContext | None = None) -> Tensor:  # type: ignore[override]
        """Attend over the tokens: [B,N,D] to [B,N,D]."""
        if context is None or not context.is_observed:
            fused_BND: Tensor = super().forward(x_BND)
            return fused_BND
        q, k, v = self.qkv(x_BND).chunk(3, dim=2)
        q_B2HNK, k_B2HNK = (_pairs(part, self.num_heads) for part in (q, k))
        q_B2HNK, k_B2HNK = self.q_norm(q_B2HNK), self.k_norm(k_B2HNK)
        v_BHNK = v.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        softmax_B2HNN = (q_B2HNK * self.scale @ k_B2HNK.transpose(-2, -1)).softmax(dim=-1)
        context.observe(self.block_idx, "softmax", softmax_B2HNN[:, 0])
        first_BHNN, second_BHNN = self.attn_drop(softmax_B2HNN).unbind(1)
        map_BHNN = first_BHNN - self._compute_lambda().type_as(first_BHNN) * second_BHNN
        context.observe(self.block_idx, "map", map_BHNN)
        heads_BHNK = self.sub_norm(map_BHNN.to(v_BHNK.dtype) @ v_BHNK) * (1 - self.lambda_init)
        out_BND: Tensor = self.proj_drop(self.proj(merge_heads(heads_BHNK)))
        return out_BND

    def parameter_draws(self) -> Mapping[str, Draw]:
        """The vectors of lambda from N(0, 0.1), the norm at 1, as timm starts them."""
        draws: dict[str, Draw] = {"sub_norm.weight": fill(1.0)}
        for name in LAMBDAS:
            draws[name] = lambda vector, generator: nn.init.normal_(vector, std=0.1, generator=generator)
        return draws


class HeadRmsNorm(RmsNorm):
    """timm's RMSNorm, computed in float32 where the input has fewer bits."""

    def forward(self, x_BHNK: Tensor) -> Tensor:
        """[B,H,N,K] to the same shape and type."""
        if x_BHNK.dtype not in HALF:
            exact_BHNK: Tensor = super().forward(x_BHNK)
            return exact_BHNK
        with torch.autocast(x_BHNK.device.type, enabled=False):
            normalized_BHNK: Tensor = super().forward(x_BHNK.float())
        return normalized_BHNK.to(x_BHNK.dtype)


def _pairs(x_BND: Tensor, num_heads: int) -> Tensor:
    """[B,N,D] to both halves of every head, [B,2,H,N,K/2]; the halves of a head lie side by side."""
    halves_BNH2K: Tensor = x_BND.unflatten(2, (num_heads, 2, -1))
    return halves_BNH2K.permute(0, 3, 2, 1, 4)
