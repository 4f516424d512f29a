"""A model and the name of an attention in; the attention's parameters, FLOPs and kept bytes in one block out.

Conventions are those of `cost.py`. N tokens, D embed_dim, H heads; bytes are of one image, and `half` means bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.catalog import FEW_TOKENS, MAP_FREE_FROM, is_dotted_attention
from orchestrator.configs import ModelConfig

OWN_ATTENTION_MAPS = 3
"""Maps a user's own attention is taken to keep for its backward pass: softmax, something made of it, the result."""


@dataclass(frozen=True)
class AttentionCost:
    """What one attention costs beyond the joint projection of Q, K and V and the output projection."""

    num_params: Callable[[ModelConfig], int] = lambda model: 0
    """Trainable parameters."""
    num_mixings: int = 0
    """HxH products over the map."""
    num_sums: int = 1
    """Products of a map with V."""
    map_bytes: tuple[float, float] | None = None
    """Bytes kept a map element under fp32 and bf16; None where attention is fused and keeps no map."""
    token_bytes: tuple[float, float] = (0, 0)
    """Further bytes kept a token and channel under fp32 and bf16."""
    is_map_free: bool = False
    """Whether a CPU keeps no map in fp32, from `MAP_FREE_FROM` tokens on."""
    is_head_norm: bool = False
    """Whether a LayerNorm goes across heads, whose numbers lie far apart."""


def _theta(model: ModelConfig) -> int:
    """A mixing with bias; a frozen one is no trainable parameter."""
    return 0 if model.reattention_frozen else model.num_heads**2 + model.num_heads


def _reattention(model: ModelConfig) -> int:
    return _theta(model) + (2 * model.num_heads if model.reattention_norm == "batchnorm" else 0)


def _layer_norm_reattention(model: ModelConfig) -> int:
    return (0 if model.reattention_frozen else model.num_heads**2) + 2 * model.num_heads


def _lambdas_and_norm(model: ModelConfig) -> int:
    head_dim = model.embed_dim // model.num_heads
    return 4 * (head_dim // 2) + head_dim


PENALTY_BYTES: Mapping[str | None, tuple[float, float]] = {None: (0, 0), "paper": (8, 12), "released": (11, 15)}
"""Bytes that a penalty on maps keeps a map element, under fp32 and bf16."""

ONE_MORE = (4, 2)
"""One more tensor of the size of V."""

COSTS: Mapping[str, AttentionCost] = {
    "self": AttentionCost(),
    "reattention": AttentionCost(_reattention, num_mixings=1, map_bytes=(12, 14), is_map_free=True),
    "reattention_ln": AttentionCost(_layer_norm_reattention, num_mixings=1, map_bytes=(12, 10), is_head_norm=True),
    "mix_only": AttentionCost(_theta, num_mixings=1, map_bytes=(8, 10), is_map_free=True),
    "batchnorm_only": AttentionCost(lambda model: 2 * model.num_heads, map_bytes=(8, 10)),
    "centre_only": AttentionCost(map_bytes=(8, 6)),
    "gain_only": AttentionCost(lambda model: model.num_heads, map_bytes=(8, 6)),
    "talking_heads": AttentionCost(lambda model: 2 * _theta(model), num_mixings=2, map_bytes=(16, 14)),
    "temperature": AttentionCost(lambda model: model.num_heads, token_bytes=ONE_MORE),
    "attnscale": AttentionCost(lambda model: model.num_heads, map_bytes=(12, 10)),
    "featscale": AttentionCost(lambda model: 2 * model.embed_dim, token_bytes=ONE_MORE),
    "neutreno": AttentionCost(token_bytes=ONE_MORE),
    "value_residual": AttentionCost(token_bytes=ONE_MORE),
    "realformer": AttentionCost(map_bytes=(4, 6)),
    "differential": AttentionCost(_lambdas_and_norm, num_sums=2, map_bytes=(8, 8), token_bytes=(16, 20)),
}
"""By name; bytes are measured at fp32 and bf16 with torch 2.15, and the tests hold them to what autograd keeps."""


def attention_params(model: ModelConfig, name: str) -> int:
    """Trainable parameters of one attention.

    Raises:
        ValueError: the attention has no closed form.
    """
    dim = model.embed_dim
    projections = 3 * dim * dim + (3 * dim if model.qkv_bias else 0) + dim * dim + dim
    return projections + _qk_norm_params(model, name) + _cost(name).num_params(model)


def _qk_norm_params(model: ModelConfig, name: str) -> int:
    """Weight and bias for queries and for keys; differential attention has half of a head's channels in each."""
    head_dim = model.embed_dim // model.num_heads
    return 4 * (head_dim // 2 if name == "differential" else head_dim) if model.qk_norm else 0


def attention_flops(model: ModelConfig, name: str, num_tokens: int) -> int:
    """FLOPs of one attention and one image, forward.

    Raises:
        ValueError: the attention has no closed form.
    """
    dim, cost = model.embed_dim, _cost(name)
    mixings = 2 * cost.num_mixings * (model.num_heads * num_tokens) ** 2
    return 8 * num_tokens * dim**2 + 2 * (1 + cost.num_sums) * num_tokens**2 * dim + mixings


def attention_bytes(
    model: ModelConfig, name: str, num_tokens: int, *, half: bool, cos_reg: str | None = None, on_gpu: bool = False
) -> float:
    """Bytes that one attention keeps of one image besides Q, K, V and its output.

    Args:
        cos_reg: the penalty on maps; with one, no attention is fused, and the cosine keeps tensors of its own.
    """
    cost = AttentionCost(map_bytes=_own_map_bytes()) if is_dotted_attention(name) else _cost(name)
    heads, elements = model.num_heads, model.num_heads * num_tokens**2
    found = cost.token_bytes[half] * num_tokens * model.embed_dim
    if model.qk_norm:
        num_norms = 4 if name == "differential" else 2
        found += 3 * (2 if half else 4) * num_tokens * model.embed_dim + 8 * num_norms * num_tokens * heads
    if name == "reattention_ln":
        found += 8 * num_tokens**2
    is_plain = half or on_gpu or cos_reg is not None or model.attn_drop_rate > 0
    if cost.is_map_free and num_tokens >= MAP_FREE_FROM and not is_plain:
        return found
    if cost.map_bytes is None and cos_reg is None:
        keeps_map = name == "self" and num_tokens < FEW_TOKENS and not (is_plain or model.qk_norm)
        return found + (4 * elements if keeps_map else 4 * heads * num_tokens)
    map_bytes, penalty = cost.map_bytes or (4, 6), PENALTY_BYTES[cos_reg]
    dropout = (2 if half else 4) + 1 if model.attn_drop_rate > 0 else 0
    without_norm = 4 if name == "reattention" and model.reattention_norm == "none" else 0
    return found + elements * (map_bytes[half] + penalty[half] + dropout - without_norm)


def _own_map_bytes() -> tuple[float, float]:
    return OWN_ATTENTION_MAPS * 4, OWN_ATTENTION_MAPS * 2


def _cost(name: str) -> AttentionCost:
    if name not in COSTS:
        raise ValueError(f"attention {name!r} has no closed form")
    return COSTS[name]
