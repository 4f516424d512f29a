"""Laws and references of the attentions, in float64."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.catalog import ATTENTIONS
from orchestrator.models import ATTENTION_CLASSES, AttentionSpec, ForwardContext
from orchestrator.models.attention import ReAttention, SelfAttention

NUM_TOKENS, DIM, HEADS = 5, 12, 3


def make_attention(cls: type[nn.Module], **options: Any) -> Any:
    torch.manual_seed(0)
    attention = cls(AttentionSpec(dim=DIM, num_heads=HEADS, options=options)).double()
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


def softmax_maps(attention: Any, x_BND: Tensor) -> Tensor:
    maps = torch.empty(len(x_BND), HEADS, NUM_TOKENS, NUM_TOKENS, dtype=torch.float64)
    for image, head, query in itertools.product(range(len(x_BND)), range(HEADS), range(NUM_TOKENS)):
        q, k = (head_projection(attention, x_BND[image], which, head) for which in (0, 1))
        logits = torch.stack([torch.dot(q[query], k[key]) / math.sqrt(DIM // HEADS) for key in range(NUM_TOKENS)])
        maps[image, head, query] = logits.exp() / logits.exp().sum()
    return maps


def mixed_maps(attention: Any, maps: Tensor) -> Tensor:
    mixed = torch.zeros_like(maps)
    for to, source in itertools.product(range(HEADS), range(HEADS)):
        mixed[:, to] += attention.reatten_matrix.weight[to, source, 0, 0] * maps[:, source]
    for to in range(HEADS):
        mixed[:, to] += attention.reatten_matrix.bias[to]
    return mixed


def normalized_maps(attention: Any, maps: Tensor) -> Tensor:
    norm, out = attention.var_norm, torch.empty_like(maps)
    for head in range(HEADS):
        values = maps[:, head]
        mean, var = (
            (values.mean(), values.var(unbiased=False))
            if norm.training
            else (
                norm.running_mean[head],
                norm.running_var[head],
            )
        )
        out[:, head] = (values - mean) / torch.sqrt(var + 1e-5) * norm.weight[head] + norm.bias[head]
    return out


def heads_output(attention: Any, maps: Tensor, x_BND: Tensor) -> Tensor:
    rows = []
    for image in range(len(x_BND)):
        values = [head_projection(attention, x_BND[image], 2, head) for head in range(HEADS)]
        joined = torch.cat([torch.einsum("nm,mk->nk", maps[image, h], values[h]) for h in range(HEADS)], dim=1)
        rows.append(torch.einsum("nd,ed->ne", joined, attention.proj.weight) + attention.proj.bias)
    return torch.stack(rows)


def test_the_registry_implements_exactly_the_catalog():
    assert set(ATTENTION_CLASSES) == set(ATTENTIONS)


def test_self_attention_equals_a_loop_over_heads_and_tokens():
    attention, x = make_attention(SelfAttention), tokens()
    maps = softmax_maps(attention, x)
    torch.testing.assert_close(attention(x), heads_output(attention, maps, x), rtol=0, atol=1e-12)
    out, seen = observed(attention, x)
    torch.testing.assert_close(out, heads_output(attention, maps, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(seen["map"], maps, rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["batchnorm", "none"])
@pytest.mark.parametrize("scale", ["none", "head_dim"])
def test_reattention_equals_a_loop_over_heads_and_tokens(training, norm, scale):
    attention = make_attention(ReAttention, reattention_norm=norm, reattention_scale=scale).train(training)
    x = tokens()
    expected = mixed_maps(attention, softmax_maps(attention, x))
    if norm == "batchnorm":
        expected = normalized_maps(attention, expected)
    if scale == "head_dim":
        expected = expected * (DIM // HEADS) ** -0.5
    out, seen = observed(attention, x)
    torch.testing.assert_close(seen["softmax"], softmax_maps(attention, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(seen["map"], expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(out, heads_output(attention, expected, x), rtol=0, atol=1e-9)


def test_identity_mixing_without_norm_equals_self_attention():
    mixing = make_attention(ReAttention, reattention_norm="none", reattention_init="identity")
    for name, draw in mixing.parameter_draws().items():
        draw(mixing.get_parameter(name).data, torch.Generator())
    plain = make_attention(SelfAttention)
    plain.load_state_dict({name: value for name, value in mixing.state_dict().items() if "reatten" not in name})
    torch.testing.assert_close(mixing(tokens()), plain(tokens()), rtol=0, atol=1e-12)


def test_reattended_rows_sum_to_zero_in_training_when_beta_is_zero():
    attention = make_attention(ReAttention)
    nn.init.zeros_(attention.var_norm.bias)
    _, seen = observed(attention, tokens())
    assert seen["map"].abs().max() > 0.1
    assert seen["map"].sum(dim=-1).abs().max() < 1e-9


def test_reattention_in_training_is_blind_to_what_all_values_share_when_beta_is_zero():
    attention = make_attention(ReAttention)
    nn.init.zeros_(attention.var_norm.bias)
    before = attention(tokens())
    attention.qkv.bias.data[2 * DIM :] += 3.0
    torch.testing.assert_close(attention(tokens()), before, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(ATTENTION_CLASSES))
def test_attention_does_not_depend_on_the_order_of_tokens(name):
    attention, x = make_attention(ATTENTION_CLASSES[name]), tokens()
    order = torch.randperm(NUM_TOKENS, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(ATTENTION_CLASSES))
def test_dropout_on_the_map_acts_in_training_only(name):
    torch.manual_seed(0)
    attention = ATTENTION_CLASSES[name](AttentionSpec(dim=DIM, num_heads=HEADS, attn_drop=0.5)).double()
    x = tokens()
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))
