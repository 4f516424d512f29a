"""A trial in; its parameters, FLOPs and memory out, in closed form. No torch, no numpy.

Conventions: FLOPs are those of one image, forward; a multiply-add is 2; matrix products and convolutions count (what
torch's FlopCounterMode counts), while softmax, norms, activations and additions do not. N tokens, D embed_dim, H heads,
K head_dim, F hidden channels of the MLP.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from orchestrator.catalog import is_dotted_attention
from orchestrator.trial import ModelConfig, Trial


def block_attentions(model: ModelConfig) -> tuple[str, ...]:
    """The attention of each block: with `reattention_last` = k, the last k blocks mix heads and the others do not."""
    if model.reattention_last is None:
        return (model.attention,) * model.depth
    num_plain = max(0, model.depth - model.reattention_last)
    return ("self",) * num_plain + (model.attention,) * (model.depth - num_plain)


def is_closed_form(trial: Trial) -> bool:
    """False for a user's own attention, whose parameters and FLOPs only the built model tells."""
    return not is_dotted_attention(trial.model.attention)


def num_tokens(model: ModelConfig) -> int:
    """Patches and the class token."""
    return (model.img_size // model.patch_size) ** 2 + 1


def num_hidden(model: ModelConfig) -> int:
    """Hidden channels of the MLP."""
    return int(model.embed_dim * model.mlp_ratio)


def num_params(trial: Trial) -> int:
    """Trainable parameters of the model.

    Raises:
        ValueError: the attention has no closed form.
    """
    attention = sum(_attention_params(trial.model, name) for name in block_attentions(trial.model))
    return num_params_outside_attention(trial) + attention


def num_params_outside_attention(trial: Trial) -> int:
    """Trainable parameters of everything but the attention modules."""
    model, dim, hidden = trial.model, trial.model.embed_dim, num_hidden(trial.model)
    patch_embed = trial.data.in_chans * model.patch_size**2 * dim + dim
    tokens = dim + num_tokens(model) * dim
    block = 4 * dim + (dim * hidden + hidden) + (hidden * dim + dim)
    if model.init_values is not None:
        block += 2 * dim
    classifier = 2 * dim + dim * trial.data.num_classes + trial.data.num_classes
    return patch_embed + tokens + model.depth * block + classifier


def _attention_params(model: ModelConfig, name: str) -> int:
    dim, heads = model.embed_dim, model.num_heads
    plain = 3 * dim * dim + (3 * dim if model.qkv_bias else 0) + dim * dim + dim
    if name == "self":
        return plain
    if name == "reattention":
        batchnorm = 2 * heads if model.reattention_norm == "batchnorm" else 0
        return plain + heads * heads + heads + batchnorm
    raise ValueError(f"attention {name!r} has no closed form")


def flops(trial: Trial) -> int:
    """FLOPs of one image, forward.

    Raises:
        ValueError: the attention has no closed form.
    """
    model, dim, tokens = trial.model, trial.model.embed_dim, num_tokens(trial.model)
    patch_embed = 2 * (tokens - 1) * trial.data.in_chans * model.patch_size**2 * dim
    mlp = 4 * tokens * dim * num_hidden(model)
    attention = sum(_attention_flops(model, name) for name in block_attentions(model))
    return patch_embed + model.depth * mlp + attention + 2 * dim * trial.data.num_classes


def _attention_flops(model: ModelConfig, name: str) -> int:
    dim, heads, tokens = model.embed_dim, model.num_heads, num_tokens(model)
    plain = 8 * tokens * dim * dim + 4 * tokens * tokens * dim
    if name == "self":
        return plain
    if name == "reattention":
        return plain + 2 * heads * heads * tokens * tokens
    raise ValueError(f"attention {name!r} has no closed form")


def matched_embed_dim(trial: Trial, reference: Trial, count: Callable[[Trial], int] = num_params) -> int:
    """The width, a multiple of `num_heads`, at which `trial` has nearest as many parameters as `reference`.

    A tie goes to the smaller width. `count` replaces the closed form for an attention without one; it has to grow with
    the width.
    """
    target, heads = count(reference), trial.model.num_heads

    def count_at(channels: int) -> int:
        return count(_with_embed_dim(trial, channels * heads))

    too_many = 1
    while count_at(too_many) < target:
        too_many *= 2
    too_few = too_many // 2
    while too_many - too_few > 1:
        middle = (too_few + too_many) // 2
        too_few, too_many = (middle, too_many) if count_at(middle) < target else (too_few, middle)
    if too_few == 0:
        return too_many * heads
    nearest = too_few if target - count_at(too_few) <= count_at(too_many) - target else too_many
    return nearest * heads


def _with_embed_dim(trial: Trial, embed_dim: int) -> Trial:
    return dataclasses.replace(trial, model=dataclasses.replace(trial.model, embed_dim=embed_dim))
