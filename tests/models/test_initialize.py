"""How parameters start."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import Tensor, nn

from orchestrator.errors import TrainingError
from orchestrator.models import build_model
from orchestrator.models.initialize import initialize
from tests.models.trials import make_trial

WIDE: dict[str, Any] = {"embed_dim": 96, "num_heads": 4, "depth": 2, "attention": "reattention", "img_size": 16}


def start(**model: Any) -> dict[str, Tensor]:
    return {name: p.detach() for name, p in build_model(make_trial(**(WIDE | model))).named_parameters()}


def is_uniform(tensor: Tensor, bound: float) -> bool:
    """Within the bound, near it, and with the standard deviation of a uniform one."""
    near = tensor.numel() < 500 or tensor.abs().max() > 0.95 * bound
    return bool(tensor.abs().max() <= bound and near and abs(tensor.std() / (bound / math.sqrt(3)) - 1) < 0.35)


def linear_weights(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if value.ndim == 2}


@pytest.mark.parametrize("std", [0.02, 0.1])
def test_trunc_normal_weights_and_positions_have_the_asked_deviation(std):
    values = start(init_std=std)
    for name, weight in [*linear_weights(values).items(), ("pos_embed", values["pos_embed"])]:
        assert weight.std() == pytest.approx(std, rel=0.1), name
        assert abs(weight.mean()) < 0.1 * std, name
    assert values["cls_token"].std() == pytest.approx(1e-6, rel=0.3)


def test_xavier_weights_have_the_bound_of_their_fans_and_qkv_counts_as_three():
    values = start(weight_init="xavier_uniform")
    for name, weight in linear_weights(values).items():
        fan_out, fan_in = weight.shape
        bound = math.sqrt(6 / (fan_in + (fan_out // 3 if ".qkv." in name else fan_out)))
        assert is_uniform(weight, bound), name


def test_biases_norms_and_layer_scale_start_at_constants():
    values = start(init_values=0.25)
    norms = {name for name in values if "norm" in name.rpartition(".")[0].rpartition(".")[2]}
    assert len(norms) == 2 * 6 + 2
    assert all((values[name] == (1.0 if name.endswith("weight") else 0.0)).all() for name in norms)
    scales = [value for name, value in values.items() if name.endswith(".gamma")]
    assert len(scales) == 4
    assert all((value == 0.25).all() for value in scales)
    linear_biases = [name for name in values if name.endswith((".qkv.bias", "proj.bias", "fc1.bias", "head.bias"))]
    linear_biases.remove("patch_embed.proj.bias")
    assert not any(values[name].any() for name in linear_biases)


@pytest.mark.parametrize("weight_init", ["trunc_normal", "xavier_uniform"])
def test_convolutions_start_as_torch_starts_them(weight_init):
    values = start(weight_init=weight_init)
    fan_in = 1 * 2 * 2
    assert is_uniform(values["patch_embed.proj.weight"], 1 / math.sqrt(fan_in))
    assert is_uniform(values["patch_embed.proj.bias"], 1 / math.sqrt(fan_in))
    for name in ("weight", "bias"):
        assert is_uniform(values[f"blocks.0.attn.reatten_matrix.{name}"], 1 / math.sqrt(4))


@pytest.mark.parametrize(("mode", "weight_init"), [("", "trunc_normal"), ("moco", "xavier_uniform")])
def test_every_deviation_is_that_of_timms_own_initialisation(mode, weight_init):
    torch.manual_seed(0)
    options = {"img_size": 16, "patch_size": 2, "in_chans": 1, "num_classes": 50, "embed_dim": 192, "depth": 2}
    timms = TimmVisionTransformer(**options, num_heads=4, weight_init=mode)
    sizes = {"embed_dim": 192, "depth": 2, "img_size": 16}
    ours = dict(build_model(make_trial(num_classes=50, weight_init=weight_init, **sizes)).named_parameters())
    assert ours.keys() == dict(timms.named_parameters()).keys()
    for name, parameter in timms.named_parameters():
        expected, found = parameter.detach(), ours[name].detach()
        assert found.std() == pytest.approx(expected.std().item(), rel=0.2, abs=1e-9), name
        assert found.abs().max() == pytest.approx(expected.abs().max().item(), rel=0.5, abs=1e-9), name


def test_mixing_starts_at_the_identity_where_asked():
    values = start(reattention_init="identity")
    for block_idx in range(2):
        mixing = values[f"blocks.{block_idx}.attn.reatten_matrix.weight"]
        assert torch.equal(mixing[:, :, 0, 0], torch.eye(4))
        assert not values[f"blocks.{block_idx}.attn.reatten_matrix.bias"].any()


def test_a_parameter_that_nobody_knows_is_an_error_that_names_it():
    model: Any = build_model(make_trial())
    model.blocks[1].attn.temperature = nn.Parameter(torch.ones(4))
    with pytest.raises(TrainingError, match=r"'blocks\.1\.attn\.temperature' of SelfAttention, shape \(4,\)"):
        initialize(model, make_trial().model, seed=0)


def test_a_module_may_say_itself_how_its_parameters_start():
    class Scaled(nn.Linear):
        def parameter_draws(self):
            return {"bias": lambda bias, _: bias.fill_(3.0)}

    model = nn.Sequential(Scaled(8, 8), nn.Linear(8, 8))
    initialize(model, make_trial().model, seed=0)
    assert [layer.bias[0].item() for layer in list(model)] == [3.0, 0.0]
