"""Laws that hold for every attention of the registry, in float64."""

from __future__ import annotations

import pytest
import torch

from orchestrator.catalog import ATTENTIONS
from orchestrator.models import ATTENTION_CLASSES, AttentionSpec
from tests.models.attention_references import DIM, HEADS, NUM_TOKENS, assert_near, make_attention, observed, tokens

NAMES = sorted(ATTENTION_CLASSES)


def test_the_registry_implements_exactly_the_catalog():
    assert set(ATTENTION_CLASSES) == set(ATTENTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_attention_does_not_depend_on_the_order_of_tokens(name):
    attention, x = make_attention(name), tokens()
    order = torch.randperm(NUM_TOKENS, generator=torch.Generator().manual_seed(2))
    assert_near(attention(x[:, order]), attention(x)[:, order])


@pytest.mark.parametrize("name", NAMES)
def test_dropout_on_the_map_acts_in_training_only(name):
    torch.manual_seed(0)
    attention = ATTENTION_CLASSES[name](AttentionSpec(dim=DIM, num_heads=HEADS, attn_drop=0.5)).double()
    x = tokens()
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    assert torch.equal(attention(x), attention(x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("qk_norm", [False, True])
def test_an_observer_sees_both_maps_of_every_head_and_changes_nothing(name, qk_norm):
    attention, x = make_attention(name, qk_norm=qk_norm).eval(), tokens()
    out, seen = observed(attention, x)
    assert_near(out, attention(x))
    shapes = {kind: tuple(seen[kind].shape) for kind in seen}
    assert shapes == dict.fromkeys(("softmax", "map"), (2, HEADS, NUM_TOKENS, NUM_TOKENS))
    assert_near(seen["softmax"].sum(dim=-1), torch.ones(2, HEADS, NUM_TOKENS, dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_qk_norm_makes_the_attention_blind_to_the_size_of_the_queries(name):
    attention, x, outputs = make_attention(name, qk_norm=True), tokens(), []
    for _ in range(2):
        for parameter in (attention.qkv.weight, attention.qkv.bias):
            parameter.data[:DIM] *= 1000.0
        outputs.append(attention(x))
    assert_near(outputs[0], outputs[1], 1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name):
    attention, x = make_attention(name), tokens(batch=1)
    assert torch.autograd.gradcheck(attention, (x.requires_grad_(),), atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_state_goes_round(name):
    first, x = make_attention(name).eval(), tokens()
    second = ATTENTION_CLASSES[name](AttentionSpec(dim=DIM, num_heads=HEADS)).double().eval()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))
