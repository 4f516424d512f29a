"""Differential attention, against a loop and against timm's module."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from timm.layers.diff_attention import DiffAttention
from timm.layers.norm import LayerNorm
from torch import Tensor

from orchestrator.models import AttentionSpec
from orchestrator.models.differential import LAMBDAS, DifferentialAttention
from tests.models.attention_references import DIM, HEADS, NUM_TOKENS, assert_near, make_attention, observed, tokens

SIZE = DIM // HEADS
HALF = SIZE // 2


def projection(attention: Any, x_ND: Tensor, start: int, size: int) -> Tensor:
    rows = slice(start, start + size)
    return torch.einsum("nd,kd->nk", x_ND, attention.qkv.weight[rows]) + attention.qkv.bias[rows]


def loop(attention: Any, x_ND: Tensor, block_idx: int) -> tuple[Tensor, Tensor, Tensor]:
    """Output, first maps and differences of one image."""
    start = 0.8 - 0.6 * math.exp(-0.3 * block_idx)
    q1, k1, q2, k2 = (getattr(attention, name) for name in LAMBDAS)
    weight = torch.exp(torch.dot(q1, k1)) - torch.exp(torch.dot(q2, k2)) + start
    firsts, maps, heads = [], [], []
    for head in range(HEADS):
        pair = []
        for half in range(2):
            q = projection(attention, x_ND, (2 * head + half) * HALF, HALF)
            k = projection(attention, x_ND, DIM + (2 * head + half) * HALF, HALF)
            logits = torch.einsum("nk,mk->nm", q, k) / math.sqrt(HALF)
            pair.append(torch.stack([row.exp() / row.exp().sum() for row in logits]))
        firsts.append(pair[0])
        maps.append(pair[0] - weight * pair[1])
        out = maps[-1] @ projection(attention, x_ND, 2 * DIM + head * SIZE, SIZE)
        rms = torch.sqrt(out.square().mean(dim=-1, keepdim=True) + 1e-5)
        heads.append(out / rms * attention.sub_norm.weight * (1 - start))
    joined = torch.cat(heads, dim=-1)
    return joined @ attention.proj.weight.T + attention.proj.bias, torch.stack(firsts), torch.stack(maps)


@pytest.mark.parametrize("block_idx", [0, 3])
def test_it_equals_a_loop_over_heads(block_idx):
    attention, x = make_attention("differential", block_idx=block_idx), tokens()
    out, seen = observed(attention, x)
    for image in range(2):
        expected, firsts, maps = loop(attention, x[image], block_idx)
        assert_near(out[image], expected, 1e-7)
        assert_near(attention(x)[image], expected, 1e-7)
        assert_near(seen["softmax"][image], firsts, 1e-7)
        assert_near(seen["map"][image], maps, 1e-7)


@pytest.mark.parametrize("qk_norm", [False, True])
def test_it_is_timms_fused_or_observed(qk_norm):
    attention, x = make_attention("differential", block_idx=2, qk_norm=qk_norm), tokens()
    timms = DiffAttention(DIM, HEADS, qkv_bias=True, qk_norm=qk_norm, norm_layer=LayerNorm, depth=2).double()
    timms.load_state_dict(attention.state_dict())
    assert torch.equal(attention(x), timms(x))
    assert_near(observed(attention, x)[0], timms(x))
    timms.fused_attn = False
    assert_near(attention(x), timms(x))


def test_its_parameters_start_as_timm_starts_them():
    attention = DifferentialAttention(AttentionSpec(dim=512, num_heads=1))
    draws = attention.parameter_draws()
    for name in LAMBDAS:
        vector = torch.empty(256)
        draws[name](vector, torch.Generator().manual_seed(0))
        assert vector.std() == pytest.approx(0.1, rel=0.1)
        assert attention.get_parameter(name).detach().std() == pytest.approx(0.1, rel=0.3)
    assert set(draws) == {*LAMBDAS, "sub_norm.weight"}


def test_rows_of_its_map_sum_to_one_minus_lambda():
    attention = make_attention("differential")
    sums = observed(attention, tokens())[1]["map"].sum(dim=-1)
    expected = 1 - attention._compute_lambda()
    assert_near(sums, expected.double().expand(2, HEADS, NUM_TOKENS), 1e-6)
