"""A model is held against its trial before it is trained."""

from __future__ import annotations

import pytest

from orchestrator import cost
from orchestrator.errors import TrainingError
from orchestrator.models import build_model, check_model, count_on_meta
from tests.models.trials import make_trial

PLAIN = """
from torch import nn

class MyAttention(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.value = nn.Linear(spec.dim, spec.dim, bias=False)

    def forward(self, x, context):
        return self.value(x)
"""
NEEDS_VALUES = PLAIN.replace("self.value(x)", "self.value(x) * self.value.weight.sum().item()")


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_a_built_model_is_what_was_asked(attention):
    trial = make_trial(attention=attention)
    check_model(build_model(trial), trial)


def test_a_builder_that_ignores_depth_is_caught():
    ignored = build_model(make_trial(depth=3))
    with pytest.raises(TrainingError, match=r"depth is 3, asked for 4; it has .* parameters"):
        check_model(ignored, make_trial(depth=4))


def test_a_builder_that_ignores_attention_is_caught_block_by_block():
    trial = make_trial(attention="reattention", reattention_last=1)
    ignored = build_model(make_trial(attention="self"))
    with pytest.raises(
        TrainingError, match="the attention of block 2 is SelfAttention, asked for ReAttention"
    ) as error:
        check_model(ignored, trial)
    assert "block 1" not in str(error.value)


@pytest.mark.parametrize("change", [{"qkv_bias": False}, {"mlp_ratio": 2.0}, {"init_values": 1e-5}])
def test_a_builder_that_ignores_a_size_is_caught(change):
    with pytest.raises(TrainingError, match="parameters, the trial makes"):
        check_model(build_model(make_trial()), make_trial(**change))


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_counts_on_the_meta_device_equal_the_closed_forms(attention):
    trial = make_trial(attention=attention)
    assert count_on_meta(trial) == (cost.num_params(trial), cost.flops(trial))


def test_an_attention_without_closed_form_is_counted_by_building_it(own_attention):
    trial = make_trial(attention=own_attention(PLAIN))
    dim, tokens, depth = trial.model.embed_dim, cost.num_tokens(trial.model), trial.model.depth
    num_params, flops = count_on_meta(trial)
    assert num_params == cost.num_params_outside_attention(trial) + depth * dim * dim
    plain = make_trial()
    removed = 8 * tokens * dim * dim + 4 * tokens * tokens * dim
    assert flops == cost.flops(plain) + depth * (2 * tokens * dim * dim - removed)
    check_model(build_model(trial), trial)


def test_an_attention_that_needs_values_is_said_to_be_uncountable(own_attention):
    trial = make_trial(attention=own_attention(NEEDS_VALUES))
    with pytest.raises(TrainingError, match=r"FLOPs of attention .* cannot be counted on torch's meta device"):
        count_on_meta(trial)


def test_depth_is_checked_for_an_attention_without_closed_form(own_attention):
    dotted = own_attention(PLAIN)
    with pytest.raises(TrainingError, match="depth is 3, asked for 2"):
        check_model(build_model(make_trial(attention=dotted)), make_trial(attention=dotted, depth=2))
