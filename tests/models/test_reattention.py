"""Attentions that mix the heads of the map, against loops over heads and tokens."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.models import reattention
from tests.models.attention_references import (
    DIM,
    HEADS,
    assert_near,
    heads_output,
    make_attention,
    mixed_maps,
    normalized_maps,
    observed,
    softmax_maps,
    tokens,
)


def theta_mixed(attention: Any, x: Tensor) -> Tensor:
    matrix = attention.reatten_matrix
    bias = matrix.bias if matrix.bias is not None else torch.zeros(HEADS)
    return mixed_maps(matrix.weight[:, :, 0, 0], bias, softmax_maps(attention, x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["batchnorm", "none"])
@pytest.mark.parametrize("scale", ["none", "head_dim"])
def test_reattention_equals_a_loop_over_heads_and_tokens(training, norm, scale):
    attention = make_attention("reattention", reattention_norm=norm, reattention_scale=scale).train(training)
    x = tokens()
    expected = theta_mixed(attention, x)
    if norm == "batchnorm":
        expected = normalized_maps(attention, expected)
    if scale == "head_dim":
        expected = expected * (DIM // HEADS) ** -0.5
    out, seen = observed(attention, x)
    assert_near(seen["softmax"], softmax_maps(attention, x), 1e-12)
    assert_near(seen["map"], expected)
    assert_near(out, heads_output(attention, expected, x))


def test_mix_only_equals_a_loop_over_heads_and_tokens():
    attention, x = make_attention("mix_only"), tokens()
    expected = theta_mixed(attention, x)
    out, seen = observed(attention, x)
    assert_near(seen["softmax"], softmax_maps(attention, x), 1e-12)
    assert_near(seen["map"], expected)
    assert_near(out, heads_output(attention, expected, x))


def test_mix_only_is_reattention_without_its_norm():
    mixing, without_norm = make_attention("mix_only"), make_attention("reattention", reattention_norm="none")
    without_norm.load_state_dict(mixing.state_dict())
    assert torch.equal(mixing(tokens()), without_norm(tokens()))


def test_reattention_ln_equals_a_loop_over_heads_and_pairs_of_tokens():
    attention, x = make_attention("reattention_ln"), tokens()
    mixed, norm = theta_mixed(attention, x), attention.layer_norm
    expected = torch.empty_like(mixed)
    for image, query, key in itertools.product(range(2), range(5), range(5)):
        heads = mixed[image, :, query, key]
        scaled = (heads - heads.mean()) / torch.sqrt(heads.var(unbiased=False) + 1e-5)
        expected[image, :, query, key] = scaled * norm.weight + norm.bias
    out, seen = observed(attention, x)
    assert_near(seen["softmax"], softmax_maps(attention, x), 1e-12)
    assert_near(seen["map"], expected)
    assert_near(out, heads_output(attention, expected, x))


def test_reattention_ln_is_the_operator_of_vit_pytorch():
    attention, x = make_attention("reattention_ln"), tokens()
    maps = observed(attention, x)[1]
    theta = attention.reatten_matrix.weight[:, :, 0, 0].T
    mixed = torch.einsum("bhij,hg->bgij", maps["softmax"], theta).permute(0, 2, 3, 1)
    norm = attention.layer_norm
    expected = torch.nn.functional.layer_norm(mixed, (HEADS,), norm.weight, norm.bias).permute(0, 3, 1, 2)
    assert_near(maps["map"], expected, 1e-12)


def start_as_drawn(attention: Any) -> Any:
    for name, draw in attention.parameter_draws().items():
        draw(attention.get_parameter(name).data, torch.Generator().manual_seed(0))
    return attention


@pytest.mark.parametrize(
    ("name", "options"), [("mix_only", {}), ("reattention", {"reattention_norm": "none"})], ids=["mix_only", "no norm"]
)
def test_identity_mixing_without_norm_equals_self_attention(name, options):
    mixing = start_as_drawn(make_attention(name, reattention_init="identity", **options))
    plain = make_attention("self")
    plain.load_state_dict({name: value for name, value in mixing.state_dict().items() if "reatten" not in name})
    assert_near(mixing(tokens()), plain(tokens()), 1e-12)


@pytest.mark.parametrize("name", ["reattention", "reattention_ln", "mix_only"])
def test_a_frozen_theta_is_no_trainable_parameter_and_everything_else_is(name):
    attention = make_attention(name, reattention_frozen=True)
    frozen = {name for name, parameter in attention.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in attention.named_parameters() if name.startswith("reatten_matrix")}
    assert all(parameter.requires_grad for parameter in make_attention(name).parameters())


def test_theta_of_the_layer_norm_form_starts_from_a_standard_normal():
    attention = make_attention("reattention_ln")
    weight = torch.empty(100, 100, 1, 1)
    attention.parameter_draws()["reatten_matrix.weight"](weight, torch.Generator().manual_seed(0))
    assert weight.std() == pytest.approx(1.0, rel=0.05)


def test_reattended_rows_sum_to_zero_in_training_when_beta_is_zero():
    attention = make_attention("reattention")
    nn.init.zeros_(attention.var_norm.bias)
    _, seen = observed(attention, tokens())
    assert seen["map"].abs().max() > 0.1
    assert seen["map"].sum(dim=-1).abs().max() < 1e-9


def test_reattention_in_training_is_blind_to_what_all_values_share_when_beta_is_zero():
    attention = make_attention("reattention")
    nn.init.zeros_(attention.var_norm.bias)
    before = attention(tokens())
    attention.qkv.bias.data[2 * DIM :] += 3.0
    assert_near(attention(tokens()), before)


def test_a_norm_that_rests_while_the_others_train_leaves_theta_its_gradient(monkeypatch):
    gradients = []
    for map_free_from in (0, 10**9):
        attention = make_attention("reattention").train()
        attention.var_norm.eval()
        monkeypatch.setattr(reattention, "MAP_FREE_FROM", map_free_from)
        attention(tokens()).square().sum().backward()
        gradients.append(attention.reatten_matrix.weight.grad)
    assert_near(*gradients)
