"""Laws that hold for a model with any attention of the registry."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.catalog import ATTENTIONS
from orchestrator.models import ForwardContext, build_model
from tests.models.trials import make_trial

NAMES = sorted(ATTENTIONS)

NEUTRAL: dict[str, dict[str, Any]] = {
    "self": {},
    "reattention": {"reattention_norm": "none", "reattention_init": "identity"},
    "mix_only": {"reattention_init": "identity"},
    "talking_heads": {"reattention_init": "identity"},
    "temperature": {},
    "attnscale": {},
    "featscale": {},
    "neutreno": {"neutreno_lambda": 0.0},
    "value_residual": {"value_residual_mix": 0.0},
    "realformer": {"depth": 1},
}
"""The settings at which a freshly built model computes what self-attention computes."""


def images(batch: int = 4) -> Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_the_catalog_names_a_neutral_setting_exactly_where_one_is_tested(name):
    assert bool(ATTENTIONS[name].neutral) == (name in NEUTRAL)
    for option, value in NEUTRAL.get(name, {}).items():
        assert option in ATTENTIONS[name].neutral
        assert f"{value:g}" if isinstance(value, float) else str(value) in ATTENTIONS[name].neutral


@pytest.mark.parametrize("name", sorted(NEUTRAL))
@pytest.mark.parametrize("is_observed", [False, True])
def test_at_its_neutral_setting_a_model_is_that_of_self_attention(name, is_observed):
    settings = NEUTRAL[name]
    trials = make_trial(depth=settings.get("depth", 3)), make_trial(attention=name, **settings)
    models = [build_model(trial) for trial in trials]
    context = [ForwardContext(observer=(lambda *_: None) if is_observed else None) for _ in models]
    plain, neutral = (
        model.double().eval().forward_features(images().double(), context=own)
        for model, own in zip(models, context, strict=True)
    )
    torch.testing.assert_close(neutral, plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "self"])
def test_away_from_it_the_model_is_another_one(name):
    plain, other = build_model(make_trial()), build_model(make_trial(attention=name))
    for parameter_name, parameter in other.named_parameters():
        if any(leaf in parameter_name for leaf in ("lamb", "temperature")):
            parameter.data += 0.5
    assert (other(images()) - plain(images())).abs().max() > 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_every_attention_starts_what_it_shares_with_self_attention_equal(name):
    plain, other = build_model(make_trial()).state_dict(), build_model(make_trial(attention=name)).state_dict()
    assert plain.keys() <= other.keys()
    assert [key for key in plain if not torch.equal(plain[key], other[key])] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("qk_norm", [None, True])
def test_every_trainable_parameter_gets_a_gradient(name, qk_norm):
    model = build_model(make_trial(attention=name, qk_norm=qk_norm))
    for block in model.blocks:
        torch.nn.init.normal_(block.mlp.fc2.bias)
    context = ForwardContext()
    model.forward_features(images(), context=context).square().sum().backward()
    missing = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert [key for key in missing if not key.startswith("head")] == []


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_changes_neither_gradients_nor_statistics(name):
    found = []
    for checkpointing in (False, True):
        model = build_model(make_trial(attention=name)).double()
        model.set_grad_checkpointing(checkpointing)
        model(images().double()).square().sum().backward()
        gradients = {key: value.grad for key, value in model.named_parameters()}
        found.append((gradients, dict(model.named_buffers())))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_under_bf16_a_forward_stays_near_the_exact_one(name):
    model = build_model(make_trial(attention=name)).eval()
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_var.fill_(1e-3)
    with torch.no_grad():
        exact = model(images())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(images())
    assert (rounded.float() - exact).abs().max() < 0.1 * exact.abs().max()


MIXING = [name for name in NAMES if "reattention_last" in ATTENTIONS[name].options]


@pytest.mark.parametrize("name", MIXING)
def test_it_can_stand_in_the_last_blocks_only(name):
    model = build_model(make_trial(attention=name, reattention_last=1))
    kinds = [type(block.attn).__name__ for block in model.blocks]
    assert kinds[:2] == ["SelfAttention"] * 2
    assert kinds[2] != "SelfAttention"


def test_reattention_and_every_control_can_stand_in_the_last_blocks_only():
    controls = {name for name, info in ATTENTIONS.items() if info.summary.startswith("control")}
    assert controls == {"mix_only", "batchnorm_only", "centre_only", "gain_only"}
    assert {"reattention", "reattention_ln"} | controls <= set(MIXING)
