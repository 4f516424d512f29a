"""What each attention keeps for its backward pass, against what autograd really keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from orchestrator import cost
from orchestrator.attention_cost import COSTS, attention_bytes, attention_flops, attention_params
from orchestrator.catalog import ATTENTIONS
from orchestrator.models import build_model
from orchestrator.training.objective import Objective
from orchestrator.trial import Trial
from tests.models.trials import make_trial


def test_every_attention_of_the_catalog_has_its_costs():
    assert COSTS.keys() == ATTENTIONS.keys()


def test_an_attention_that_is_not_in_the_catalog_has_no_closed_form_but_is_taken_to_keep_maps():
    model, own = make_trial().model, "my_pkg.attn:MyAttention"
    with pytest.raises(ValueError, match="has no closed form"):
        attention_params(model, own)
    with pytest.raises(ValueError, match="has no closed form"):
        attention_flops(model, own, 17)
    assert attention_bytes(model, own, 17, half=False) == 3 * 4 * model.num_heads * 17**2


def saved_mib(trial: Trial) -> float:
    """What autograd really keeps of one micro-batch: tensors whose first axis holds its prime number of images."""
    model, batch = build_model(trial), trial.train.batch_size
    kept: dict[int, Any] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if tensor.ndim > 0 and tensor.shape[0] % batch == 0:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    images = torch.randn(batch, trial.data.in_chans, trial.model.img_size, trial.model.img_size)
    half = trial.train.precision == "bf16"
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", enabled=half):
        loss, _ = Objective(model, trial, is_mixed=True)(images, torch.zeros(batch, dtype=torch.long))
    assert loss.requires_grad
    return sum(size for size, _ in kept.values()) / cost.MIB


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "model",
    [
        *({"attention": name} for name in ATTENTIONS),
        {"attention": "self", "init_values": 1e-3},
        {"attention": "self", "qk_norm": True},
        {"attention": "differential", "qk_norm": True},
        {"attention": "reattention", "reattention_last": 1, "reattention_scale": "head_dim"},
        {"attention": "reattention", "reattention_norm": "none"},
    ],
)
def test_activation_memory_is_what_autograd_keeps_and_one_block_more(model, precision):
    sizes: dict[str, Any] = {"img_size": 16, "embed_dim": 40, "num_heads": 5, "mlp_ratio": 3.0}
    train = {"precision": precision, "batch_size": 7}
    shallow, deep = (make_trial(depth=depth, train=train, **sizes, **model) for depth in (2, 4))
    one_block = cost.activation_mib(make_trial(depth=3, train=train, **sizes, **model)) - cost.activation_mib(shallow)
    if "reattention_last" not in model:
        assert cost.activation_mib(deep) == pytest.approx(saved_mib(deep) + one_block, rel=0.02)
    growth = cost.activation_mib(deep) - cost.activation_mib(shallow)
    assert growth == pytest.approx(saved_mib(deep) - saved_mib(shallow), rel=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cos_reg", ["paper", "released"])
@pytest.mark.parametrize("attention", ["self", "reattention", "temperature"])
def test_a_penalty_on_maps_ends_fusion_and_keeps_tensors_of_its_own(attention, cos_reg, precision):
    train = {"precision": precision, "batch_size": 7, "cos_reg": cos_reg, "mixup": 0.5}
    sizes: dict[str, Any] = {"img_size": 16, "embed_dim": 40, "num_heads": 5, "attention": attention}
    shallow, deep = (make_trial(depth=depth, train=train, **sizes) for depth in (2, 4))
    growth = cost.activation_mib(deep) - cost.activation_mib(shallow)
    assert growth == pytest.approx(saved_mib(deep) - saved_mib(shallow), rel=0.07)
