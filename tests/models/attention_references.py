"""What the attentions compute, as loops over heads and tokens in float64."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.models import ATTENTION_CLASSES, AttentionSpec, ForwardContext

NUM_TOKENS, DIM, HEADS = 5, 12, 3


def make_attention(name: str, *, block_idx: int = 0, qk_norm: bool = False, **options: Any) -> Any:
    """An attention of the registry in float64 whose every parameter and running statistic has a drawn value."""
    torch.manual_seed(0)
    spec = AttentionSpec(dim=DIM, num_heads=HEADS, block_idx=block_idx, qk_norm=qk_norm, options=options)
    attention = ATTENTION_CLASSES[name](spec).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    for buffer in attention.buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 1.5)
    return attention


def tokens(batch: int = 2) -> Tensor:
    return torch.randn(batch, NUM_TOKENS, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def observed(attention: nn.Module, x_BND: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    seen: dict[str, Tensor] = {}
    context = ForwardContext(observer=lambda _, name, tensor: seen.update({name: tensor}))
    return attention(x_BND, context), seen


def head_projection(attention: Any, x_ND: Tensor, which: int, head: int) -> Tensor:
    size = DIM // HEADS
    rows = slice(which * DIM + head * size, which * DIM + (head + 1) * size)
    return torch.einsum("nd,kd->nk", x_ND, attention.qkv.weight[rows]) + attention.qkv.bias[rows]


def logits_of(attention: Any, x_BND: Tensor) -> Tensor:
    logits = torch.empty(len(x_BND), HEADS, NUM_TOKENS, NUM_TOKENS, dtype=torch.float64)
    for image, head in itertools.product(range(len(x_BND)), range(HEADS)):
        q, k = (head_projection(attention, x_BND[image], which, head) for which in (0, 1))
        for query, key in itertools.product(range(NUM_TOKENS), range(NUM_TOKENS)):
            logits[image, head, query, key] = torch.dot(q[query], k[key]) / math.sqrt(DIM // HEADS)
    return logits


def softmax_of(logits: Tensor) -> Tensor:
    maps = torch.empty_like(logits)
    for image, head, query in itertools.product(range(len(logits)), range(HEADS), range(NUM_TOKENS)):
        row = logits[image, head, query]
        maps[image, head, query] = row.exp() / row.exp().sum()
    return maps


def softmax_maps(attention: Any, x_BND: Tensor) -> Tensor:
    return softmax_of(logits_of(attention, x_BND))


def mixed_maps(theta_HH: Tensor, bias_H: Tensor, maps: Tensor) -> Tensor:
    mixed = torch.zeros_like(maps)
    for to in range(HEADS):
        mixed[:, to] = bias_H[to] + sum(theta_HH[to, source] * maps[:, source] for source in range(HEADS))
    return mixed


def normalized_maps(attention: Any, maps: Tensor) -> Tensor:
    norm, out = attention.var_norm, torch.empty_like(maps)
    for head in range(HEADS):
        values = maps[:, head]
        mean, var = norm.running_mean[head], norm.running_var[head]
        if norm.training:
            mean, var = values.mean(), values.var(unbiased=False)
        out[:, head] = (values - mean) / torch.sqrt(var + 1e-5) * norm.weight[head] + norm.bias[head]
    return out


def values_of(attention: Any, x_BND: Tensor) -> Tensor:
    rows = [[head_projection(attention, image, 2, head) for head in range(HEADS)] for image in x_BND]
    return torch.stack([torch.stack(heads) for heads in rows])


def projected(attention: Any, heads_BHNK: Tensor) -> Tensor:
    joined = torch.cat([heads_BHNK[:, head] for head in range(HEADS)], dim=-1)
    return torch.einsum("bnd,ed->bne", joined, attention.proj.weight) + attention.proj.bias


def heads_output(attention: Any, maps: Tensor, x_BND: Tensor) -> Tensor:
    return projected(attention, torch.einsum("bhnm,bhmk->bhnk", maps, values_of(attention, x_BND)))


def assert_near(found: Tensor, expected: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
