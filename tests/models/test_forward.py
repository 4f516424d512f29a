"""What a forward pass leaves behind: nothing, so models can be copied, saved, checkpointed and compiled after it."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.models import build_model
from orchestrator.models.vit import VisionTransformer
from tests.models.trials import make_trial

ARMS: list[dict[str, Any]] = [
    {"attention": "self"},
    {"attention": "reattention"},
    {"attention": "reattention", "reattention_norm": "none", "reattention_last": 1},
]
every_arm = pytest.mark.parametrize("arm", ARMS, ids=lambda arm: "-".join(str(value) for value in arm.values()))


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def trained_once(arm: dict[str, Any]) -> VisionTransformer:
    model = build_model(make_trial(depth=2, **arm))
    model(images()).square().sum().backward()
    return model


def tensors_kept(module: nn.Module) -> list[str]:
    """Names of attributes, other than parameters and buffers, that hold a tensor."""
    kept = []
    for path, child in module.named_modules():
        known = {"_parameters", "_buffers", "_modules"}
        kept += [f"{path}.{name}" for name, value in vars(child).items() if name not in known and holds_tensor(value)]
    return kept


def holds_tensor(value: object) -> bool:
    if isinstance(value, dict):
        return any(holds_tensor(entry) for entry in value.values())
    if isinstance(value, (list, tuple, set)):
        return any(holds_tensor(entry) for entry in value)
    return isinstance(value, Tensor)


@every_arm
def test_no_module_keeps_a_tensor_after_forward(arm):
    model = trained_once(arm)
    assert tensors_kept(model) == []
    list(model.blocks)[1].attn.kept = {"maps": [images()]}
    assert tensors_kept(model) == ["blocks.1.attn.kept"]


@every_arm
def test_a_copy_made_after_forward_computes_the_same_and_is_its_own(arm):
    model = trained_once(arm)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(images(1)), model(images(1)))
    with torch.no_grad():
        next(iter(twin.parameters())).add_(1.0)
    assert not torch.equal(twin(images(1)), model(images(1)))


@every_arm
def test_a_state_dict_carries_all_that_evaluation_needs(arm):
    model = trained_once(arm).eval()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    fresh = build_model(make_trial(depth=2, seed=9, **arm)).eval()
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(fresh(images(1)), model(images(1)))


def results_of(model: Any, precision: str) -> tuple[Tensor, dict[str, Any], dict[str, Tensor]]:
    """Loss, gradients and running statistics of one training step."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = model(images(1).to(next(model.parameters()).dtype)).square().sum()
    loss.backward()
    gradients = {name.removeprefix("_orig_mod."): parameter.grad for name, parameter in model.named_parameters()}
    return loss, gradients, {name.removeprefix("_orig_mod."): buffer for name, buffer in model.named_buffers()}


@every_arm
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradient_checkpointing_changes_memory_and_nothing_else(arm, precision):
    plain, checkpointed = trained_once(arm), trained_once(arm)
    checkpointed.set_grad_checkpointing()
    torch.testing.assert_close(results_of(checkpointed, precision), results_of(plain, precision), rtol=0, atol=0)


@every_arm
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_compiles_into_one_graph_after_a_forward_pass(arm, precision):
    torch._dynamo.reset()  # all models share one code object, whose recompilations are limited
    plain = trained_once(arm)
    compiled = torch.compile(copy.deepcopy(plain), backend="eager", fullgraph=True)
    torch.testing.assert_close(results_of(compiled, precision), results_of(plain, precision), rtol=0, atol=0)


@pytest.mark.slow
def test_compiled_kernels_compute_the_same():
    torch._dynamo.reset()
    plain = trained_once({"attention": "reattention"}).double()
    compiled = torch.compile(copy.deepcopy(plain), fullgraph=True)
    torch.testing.assert_close(results_of(compiled, "fp64"), results_of(plain, "fp64"), rtol=0, atol=1e-9)
