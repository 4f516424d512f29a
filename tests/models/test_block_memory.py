"""Attentions that use an earlier block's values or logits, against loops over two blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.models import ForwardContext, build_model
from tests.models.attention_references import (
    assert_near,
    heads_output,
    logits_of,
    make_attention,
    projected,
    softmax_maps,
    softmax_of,
    tokens,
    values_of,
)
from tests.models.trials import make_trial

NAMES = ["neutreno", "value_residual", "realformer"]


def two_blocks(name: str, **options: Any) -> tuple[Any, Any]:
    first, second = make_attention(name, **options), make_attention(name, block_idx=1, **options)
    for parameter in second.parameters():
        parameter.data = parameter.data.flip(0)
    return first, second


def outputs(name: str, is_observed: bool, **options: Any) -> tuple[Any, Any, Tensor]:
    first, second = two_blocks(name, **options)
    context = ForwardContext(observer=(lambda *_: None) if is_observed else None)
    first(tokens(), context)
    return first, second, second(tokens(3)[:2], context)


@pytest.mark.parametrize("is_observed", [False, True])
def test_value_residual_mixes_its_values_with_those_of_the_first_block(is_observed):
    first, second, found = outputs("value_residual", is_observed, value_residual_mix=0.3)
    x = tokens(3)[:2]
    values = 0.3 * values_of(first, tokens()) + 0.7 * values_of(second, x)
    maps = softmax_maps(second, x)
    assert_near(found, projected(second, torch.einsum("bhnm,bhmk->bhnk", maps, values)))


@pytest.mark.parametrize("is_observed", [False, True])
def test_neutreno_adds_the_difference_to_the_first_blocks_values(is_observed):
    first, second, found = outputs("neutreno", is_observed, neutreno_lambda=0.4)
    x = tokens(3)[:2]
    own = values_of(second, x)
    heads = torch.einsum("bhnm,bhmk->bhnk", softmax_maps(second, x), own) + 0.4 * (values_of(first, tokens()) - own)
    assert_near(found, projected(second, heads))


def test_realformer_adds_the_logits_of_the_block_before():
    first, second, found = outputs("realformer", is_observed=True)
    x = tokens(3)[:2]
    maps = softmax_of(logits_of(first, tokens()) + logits_of(second, x))
    assert_near(found, heads_output(second, maps, x))


def test_realformers_logits_are_a_running_sum():
    context, x = ForwardContext(), tokens()
    blocks = [make_attention("realformer", block_idx=block_idx) for block_idx in range(3)]
    for block in blocks:
        block(x, context)
    assert_near(context.shared["last_logits"], 3 * logits_of(blocks[0], x))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_block_is_plain_self_attention(name):
    first, plain = make_attention(name), make_attention("self")
    plain.load_state_dict(first.state_dict())
    assert_near(first(tokens()), plain(tokens()), 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_block_before_under_checkpointing_too(name):
    x, gradients = torch.randn(2, 1, 8, 8), []
    for checkpointing in (False, True):
        model = build_model(make_trial(attention=name)).double()
        model.set_grad_checkpointing(checkpointing)
        model(x.double()).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_last_block_alone_sends_gradients_to_what_the_first_one_left(name):
    first, second = two_blocks(name)
    context = ForwardContext()
    first(tokens(), context)
    second(tokens(), context).square().sum().backward()
    assert first.qkv.weight.grad.abs().max() > 0
