"""Learned temperature, AttnScale and FeatScale, against loops."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.models.attention_references import (
    HEADS,
    NUM_TOKENS,
    assert_near,
    heads_output,
    logits_of,
    make_attention,
    observed,
    softmax_maps,
    softmax_of,
    tokens,
)


def test_a_temperature_divides_the_logits_of_its_head():
    attention, x = make_attention("temperature"), tokens()
    logits = logits_of(attention, x)
    for head in range(HEADS):
        logits[:, head] /= attention.log_temperature[head].exp()
    expected = softmax_of(logits)
    out, seen = observed(attention, x)
    assert_near(seen["map"], expected)
    assert_near(out, heads_output(attention, expected, x))
    assert_near(attention(x), out)


def test_attnscale_weighs_what_is_above_the_mean_of_each_head():
    attention, x = make_attention("attnscale"), tokens()
    maps = softmax_maps(attention, x)
    expected = torch.empty_like(maps)
    for head in range(HEADS):
        expected[:, head] = 1 / NUM_TOKENS + (1 + attention.lamb[head]) * (maps[:, head] - 1 / NUM_TOKENS)
    out, seen = observed(attention, x)
    assert_near(seen["softmax"], maps)
    assert_near(seen["map"], expected)
    assert_near(out, heads_output(attention, expected, x))
    assert_near(seen["map"].sum(dim=-1), torch.ones_like(maps[..., 0]))


def scaled_once(attention, out_BND: Tensor) -> Tensor:
    images = []
    for out_ND in out_BND:
        mean = sum(out_ND) / NUM_TOKENS
        images.append(torch.stack([row + attention.lamb1 * mean + attention.lamb2 * (row - mean) for row in out_ND]))
    return torch.stack(images)


def test_featscale_adds_its_correction_once_to_the_output():
    attention, x = make_attention("featscale"), tokens()
    plain = heads_output(attention, softmax_maps(attention, x), x)
    assert_near(attention(x), scaled_once(attention, plain))
    assert_near(observed(attention, x)[0], scaled_once(attention, plain))
