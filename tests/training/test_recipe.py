"""recipe.py: the learning rate and eps of blocks whose branches are scaled."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from orchestrator.models import build_model
from orchestrator.training.checkpoint import _restore_optimizer
from orchestrator.training.recipe import build_optimizer, build_scheduler, schedule_lr
from orchestrator.trial import Trial
from tests.models.trials import make_trial

EXPONENTS = {"1/sqrt(depth)": 0.5, "1/depth": 1.0}


def built(trial: Trial) -> tuple[Any, torch.optim.Optimizer]:
    model = build_model(trial)
    return model, build_optimizer(model, trial.train, trial.model)


def by_name(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    return {name: groups[id(parameter)] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("scale", list(EXPONENTS))
def test_branches_are_multiplied_by_m_to_the_minus_a(scale):
    plain = build_model(make_trial(depth=8)).double()
    scaled = build_model(make_trial(depth=8, residual_scale=scale, residual_base_depth=2)).double()
    factor, x = 4.0 ** -EXPONENTS[scale], torch.randn(2, 17, 24, dtype=torch.float64)
    block = plain.blocks[3]
    middle = x + factor * block.attn(block.norm1(x))
    expected = middle + factor * block.mlp(block.norm2(middle))
    torch.testing.assert_close(scaled.blocks[3](x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", list(EXPONENTS))
@pytest.mark.parametrize("optimizer_of", [{}, {"weight_decay": 0.0}])
def test_blocks_have_the_learning_rate_and_eps_of_completep_and_the_rest_has_its_own(scale, optimizer_of):
    trial = make_trial(depth=8, residual_scale=scale, residual_base_depth=2, train=optimizer_of)
    exponent = EXPONENTS[scale]
    model, optimizer = built(trial)
    build_scheduler(optimizer, trial.train, 10).step_update(4)
    reference = build_optimizer(model, trial.train)
    build_scheduler(reference, trial.train, 10).step_update(4)
    plain = by_name(model, reference)
    for name, group in by_name(model, optimizer).items():
        in_block = name.startswith("blocks.")
        lr_factor, eps_factor = (4.0 ** (exponent - 1), 4.0**-exponent) if in_block else (1.0, 1.0)
        assert group["lr"] == pytest.approx(lr_factor * plain[name]["lr"]), name
        assert group["eps"] == pytest.approx(eps_factor * plain[name]["eps"]), name
        assert group["weight_decay"] == plain[name]["weight_decay"], name
    assert schedule_lr(optimizer) == pytest.approx(schedule_lr(reference))


def test_without_a_scale_the_groups_are_timms():
    model, optimizer = built(make_trial())
    reference = build_optimizer(model, make_trial().train)
    for found, expected in zip(optimizer.param_groups, reference.param_groups, strict=True):
        assert found.keys() == expected.keys()
        assert [id(parameter) for parameter in found["params"]] == [id(parameter) for parameter in expected["params"]]


@pytest.mark.parametrize("scale", list(EXPONENTS))
def test_at_the_base_depth_a_scale_changes_no_bit(scale):
    states = []
    for options in ({}, {"residual_scale": scale, "residual_base_depth": 3}):
        trial = make_trial(depth=3, **options)
        model, optimizer = built(trial)
        scheduler = build_scheduler(optimizer, trial.train, 10)
        images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        for step in range(3):
            scheduler.step_update(step)
            optimizer.zero_grad()
            model(images).square().sum().backward()
            optimizer.step()
        states.append(model.state_dict())
    assert [name for name in states[0] if not torch.equal(states[0][name], states[1][name])] == []


def test_new_gains_temperatures_and_norms_take_no_weight_decay_and_mixings_do():
    decays = {
        "mix_only": {"reatten_matrix.weight": True, "reatten_matrix.bias": False},
        "reattention_ln": {"reatten_matrix.weight": True, "layer_norm.weight": False},
        "gain_only": {"var_gain.weight": False},
        "batchnorm_only": {"var_norm.weight": False},
        "talking_heads": {"proj_l.weight": True, "proj_w.bias": False},
        "temperature": {"log_temperature": False},
        "attnscale": {"lamb": False},
        "featscale": {"lamb1": False, "lamb2": False},
        "differential": {"lambda_q1": False, "sub_norm.weight": False},
    }
    for attention, expected in decays.items():
        model, optimizer = built(make_trial(attention=attention))
        groups = by_name(model, optimizer)
        found = {name: groups[f"blocks.1.attn.{name}"]["weight_decay"] > 0 for name in expected}
        assert found == expected, attention


ROUNDING = 1e-6


def test_fused_adamw_is_adamw_and_only_adamw_is_fused():
    model, optimizer = built(make_trial())
    twin = build_model(make_trial())
    plain = torch.optim.AdamW(twin.parameters(), lr=make_trial().train.lr, weight_decay=0.0, foreach=False)
    for group in optimizer.param_groups:
        group["weight_decay"] = 0.0
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for one, other in zip(model.parameters(), twin.parameters(), strict=True):
            one.grad = other.grad = torch.randn(one.shape, generator=generator)
        optimizer.step()
        plain.step()
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=ROUNDING)
    assert {group["fused"] for group in optimizer.param_groups} == {True}
    for name in ("sgd", "lamb"):
        _, other = built(make_trial(train={"optimizer": name}))
        assert not any(group.get("fused") for group in other.param_groups)


def test_a_fused_optimizer_stays_fused_with_a_state_from_before():
    _, optimizer = built(make_trial())
    saved = [{"lr": group["lr"]} for group in optimizer.param_groups]
    _restore_optimizer(optimizer, {}, saved)
    assert {group["fused"] for group in optimizer.param_groups} == {True}
