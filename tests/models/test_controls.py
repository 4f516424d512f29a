"""The controls that tell mixing from normalising, against loops and against Re-attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.models import ForwardContext
from tests.models.attention_references import (
    DIM,
    HEADS,
    NUM_TOKENS,
    assert_near,
    heads_output,
    make_attention,
    normalized_maps,
    observed,
    softmax_maps,
    tokens,
)


def gained_maps(attention: Any, maps: Tensor) -> Tensor:
    gain, out = attention.var_gain, torch.empty_like(maps)
    for head in range(HEADS):
        values = maps[:, head]
        var = values.square().mean() - values.mean() ** 2 if gain.training else gain.running_var[head]
        out[:, head] = gain.weight[head] * values / torch.sqrt(var + 1e-5)
    return out


EXPECTED = {
    "batchnorm_only": normalized_maps,
    "centre_only": lambda _, maps: maps - 1 / NUM_TOKENS,
    "gain_only": gained_maps,
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_control_equals_a_loop_over_heads(name, training):
    attention, x = make_attention(name).train(training), tokens()
    maps = softmax_maps(attention, x)
    expected = EXPECTED[name](attention, maps)
    out, seen = observed(attention, x)
    assert_near(seen["softmax"], maps, 1e-12)
    assert_near(seen["map"], expected)
    assert_near(out, heads_output(attention, expected, x))


@pytest.mark.parametrize("training", [True, False])
def test_batchnorm_only_is_reattention_with_theta_at_the_identity(training):
    control, mixing = make_attention("batchnorm_only").train(training), make_attention("reattention").train(training)
    state = control.state_dict() | {
        "reatten_matrix.weight": torch.eye(HEADS)[:, :, None, None],
        "reatten_matrix.bias": torch.zeros(HEADS),
    }
    mixing.load_state_dict(state)
    assert_near(control(tokens()), mixing(tokens()))


@pytest.mark.parametrize("name", ["batchnorm_only", "gain_only"])
def test_under_bf16_a_control_stays_near_its_exact_map(name):
    attention, x = make_attention(name), 0.01 * tokens()
    exact = observed(attention, x)[1]["map"]
    attention.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = observed(attention, x.float())[1]["map"]
    assert rounded.dtype == torch.float32
    scale = exact.std()
    assert (rounded - exact).abs().max() < 0.1 * scale


def test_rows_of_the_centred_map_sum_to_zero_and_keep_the_variance():
    _, seen = observed(make_attention("centre_only"), tokens())
    assert seen["map"].sum(dim=-1).abs().max() < 1e-12
    assert_near(seen["map"].var(dim=(0, 2, 3)), seen["softmax"].var(dim=(0, 2, 3)), 1e-12)


def test_centring_is_blind_to_what_all_values_share_and_the_gain_is_not():
    for name, is_blind in (("centre_only", True), ("gain_only", False)):
        attention = make_attention(name)
        before = attention(tokens())
        attention.qkv.bias.data[2 * DIM :] += 3.0
        assert torch.allclose(attention(tokens()), before, atol=1e-9) == is_blind


def test_the_gain_is_that_of_batchnorm():
    gain, norm = make_attention("gain_only"), make_attention("batchnorm_only")
    norm.load_state_dict(gain.state_dict(), strict=False)
    norm.var_norm.weight.data.copy_(gain.var_gain.weight)
    gained, normalized = (observed(attention, tokens())[1]["map"] for attention in (gain, norm))
    assert_near(gained.std(dim=(0, 2, 3)), normalized.std(dim=(0, 2, 3)))


def test_the_running_variance_of_the_gain_moves_as_that_of_batchnorm_and_not_in_a_recomputation():
    gain, norm = make_attention("gain_only"), make_attention("batchnorm_only")
    norm.load_state_dict({name: value for name, value in gain.state_dict().items() if "var" not in name}, strict=False)
    norm.var_norm.running_var.copy_(gain.var_gain.running_var)
    for attention in (gain, norm):
        attention(tokens())
    assert_near(gain.var_gain.running_var, norm.var_norm.running_var, 1e-12)
    moved = gain.var_gain.running_var.clone()
    gain(tokens(), ForwardContext(is_recompute=True))
    assert torch.equal(gain.var_gain.running_var, moved)
