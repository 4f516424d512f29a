"""Plain softmax attention, and the steps that others change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from orchestrator.catalog import FEW_TOKENS
from orchestrator.models import AttentionSpec, softmax_attention
from orchestrator.models.softmax_attention import MapAttention, SelfAttention, SoftmaxAttention, attend_few
from tests.models.attention_references import (
    DIM,
    HEADS,
    assert_near,
    head_projection,
    heads_output,
    make_attention,
    observed,
    softmax_maps,
    softmax_of,
    tokens,
)


def test_self_attention_equals_a_loop_over_heads_and_tokens():
    attention, x = make_attention("self"), tokens()
    maps = softmax_maps(attention, x)
    assert_near(attention(x), heads_output(attention, maps, x), 1e-12)
    out, seen = observed(attention, x)
    assert_near(out, heads_output(attention, maps, x), 1e-12)
    assert_near(seen["map"], maps, 1e-12)


def normalized(rows: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    centred = rows - rows.mean(dim=-1, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(dim=-1, keepdim=True) + 1e-6) * norm.weight + norm.bias


def test_qk_norm_is_a_layer_norm_over_the_channels_of_each_query_and_key():
    attention, x = make_attention("self", qk_norm=True), tokens()
    logits = torch.empty(2, HEADS, 5, 5, dtype=torch.float64)
    for image in range(2):
        for head in range(HEADS):
            q = normalized(head_projection(attention, x[image], 0, head), attention.q_norm)
            k = normalized(head_projection(attention, x[image], 1, head), attention.k_norm)
            logits[image, head] = torch.einsum("nk,mk->nm", q, k) / math.sqrt(DIM // HEADS)
    expected = heads_output(attention, softmax_of(logits), x)
    assert_near(attention(x), expected, 1e-9)
    assert_near(observed(attention, x)[0], expected, 1e-9)


def test_both_plain_forms_of_the_steps_are_timms_self_attention():
    plain, x = make_attention("self", qk_norm=True), tokens()
    for form in (SoftmaxAttention, MapAttention):
        stepwise = form(AttentionSpec(dim=DIM, num_heads=HEADS, qk_norm=True)).double()
        stepwise.load_state_dict(plain.state_dict())
        assert_near(stepwise(x), plain(x), 1e-12)
        assert_near(observed(stepwise, x)[1]["map"], observed(plain, x)[1]["map"], 1e-12)


def with_gradients(attention: torch.nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    x = x.clone().requires_grad_()
    out = attention(x)
    return out, *torch.autograd.grad(out.sin().sum(), (x, *attention.parameters()))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_of_few_tokens_outputs_and_gradients_are_those_of_the_fused_kernel(monkeypatch, dtype, tolerance):
    attention, x = make_attention("self").to(dtype), tokens(7).to(dtype)
    found = with_gradients(attention, x)
    monkeypatch.setattr(softmax_attention, "FEW_TOKENS", 0)
    for one, other in zip(found, with_gradients(attention, x), strict=True):
        assert_near(one, other, tolerance)


@pytest.mark.parametrize("case", ["trained", "evaluated", "rounded", "dropped", "many tokens", "normed queries"])
def test_the_map_is_kept_for_few_tokens_that_a_cpu_trains_in_full_precision(monkeypatch, case):
    calls = []
    monkeypatch.setattr(softmax_attention, "attend_few", lambda *words: calls.append(True) or attend_few(*words))
    spec = AttentionSpec(
        dim=DIM, num_heads=HEADS, qk_norm=case == "normed queries", attn_drop=0.1 * (case == "dropped")
    )
    x = torch.randn(2, FEW_TOKENS - (case != "many tokens"), DIM)
    with torch.autocast("cpu", enabled=case == "rounded"), torch.set_grad_enabled(case != "evaluated"):
        SelfAttention(spec)(x)
    assert calls == ([True] if case == "trained" else [])
