"""Talking heads, against loops and against timm's CaiT."""

from __future__ import annotations

import torch
from timm.models.cait import TalkingHeadAttn

from tests.models.attention_references import (
    DIM,
    HEADS,
    assert_near,
    heads_output,
    logits_of,
    make_attention,
    mixed_maps,
    observed,
    softmax_of,
    tokens,
)


def test_it_equals_a_loop_over_heads_and_tokens():
    attention, x = make_attention("talking_heads"), tokens()
    before, after = attention.proj_l, attention.proj_w
    softmax = softmax_of(mixed_maps(before.weight, before.bias, logits_of(attention, x)))
    expected = mixed_maps(after.weight, after.bias, softmax)
    out, seen = observed(attention, x)
    assert_near(seen["softmax"], softmax)
    assert_near(seen["map"], expected)
    assert_near(out, heads_output(attention, expected, x))


def test_it_is_that_of_timms_cait():
    attention, x = make_attention("talking_heads"), tokens()
    timms = TalkingHeadAttn(DIM, num_heads=HEADS, qkv_bias=True).double()
    timms.load_state_dict(attention.state_dict())
    assert_near(attention(x), timms(x), 1e-12)


def test_both_mixings_can_start_at_the_identity_and_be_frozen():
    attention = make_attention("talking_heads", reattention_init="identity", reattention_frozen=True)
    draws = attention.parameter_draws()
    frozen = {name for name, parameter in attention.named_parameters() if not parameter.requires_grad}
    assert frozen == set(draws) == {"proj_l.weight", "proj_l.bias", "proj_w.weight", "proj_w.bias"}
    weight = torch.empty(HEADS, HEADS)
    draws["proj_w.weight"](weight, torch.Generator())
    assert torch.equal(weight, torch.eye(HEADS))


def test_the_mixing_that_it_shows_is_the_one_after_the_softmax():
    attention = make_attention("talking_heads")
    assert attention.head_mixing() is attention.proj_w.weight
