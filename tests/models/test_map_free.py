"""map_free.py and the attentions that use it, against convolution, BatchNorm and a product with V."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from orchestrator.catalog import MAP_FREE_FROM
from orchestrator.models import ATTENTION_CLASSES, map_free, reattention
from orchestrator.models.context import ForwardContext
from orchestrator.models.map_free import mix_values
from orchestrator.models.softmax_attention import AttentionSpec
from orchestrator.training.loop import train
from orchestrator.trial import Trial
from tests.training.test_protocol import TOLERANCE

DIM, HEADS = 48, 6
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("reattention", {}),
    ("reattention", {"reattention_scale": "head_dim"}),
    ("reattention", {"reattention_norm": "none"}),
    ("reattention", {"reattention_frozen": True}),
    ("mix_only", {}),
]


def make(name: str, options: dict[str, Any], dtype: torch.dtype = torch.float64, **more: Any) -> Any:
    torch.manual_seed(0)
    attention = ATTENTION_CLASSES[name](AttentionSpec(dim=DIM, num_heads=HEADS, options=options, **more))
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return attention.to(dtype)


def tokens(num_tokens: int = MAP_FREE_FROM, num_images: int = 3, std: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(num_tokens)
    return std * torch.randn(num_images, num_tokens, DIM, dtype=torch.float64, generator=generator)


def step(attention: Any, x: Tensor, *, training: bool) -> dict[str, Tensor]:
    """Output, running statistics and every gradient of one step."""
    attention = copy.deepcopy(attention).train(training)
    x = x.to(next(attention.parameters()).dtype, copy=True).requires_grad_()
    out = attention(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (out * weights.to(out.dtype)).sum().backward()
    named = {name: parameter.grad for name, parameter in attention.named_parameters() if parameter.grad is not None}
    assert x.grad is not None
    return {"out": out.detach(), "x": x.grad, **named, **dict(attention.named_buffers())}


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A step that keeps its maps."""

    def with_maps(*words: Any, **options: Any) -> dict[str, Tensor]:
        with monkeypatch.context() as patched:
            patched.setattr(reattention, "MAP_FREE_FROM", 10**9)
            return step(*words, **options)

    return with_maps


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """To `tolerance` of each tensor's largest magnitude, and of 1 where that is smaller."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        largest = max(float(value.abs().max()), 1.0 if name.endswith("bias") else 0.0)
        error = float((found[name].double() - value.double()).abs().max())
        assert error <= tolerance * largest, (name, error, largest)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "options"), OPTIONS)
@pytest.mark.parametrize("std", [0.05, 1.0, 4.0])
def test_without_maps_it_is_convolution_batchnorm_and_a_product(
    plain: Any, name: str, options: dict[str, Any], training: bool, std: float
) -> None:
    attention, x = make(name, options), tokens(std=std)
    expected = plain(attention, x, training=training)
    if training and attention.var_norm is not None and "reatten_matrix.bias" in expected:
        expected["reatten_matrix.bias"].zero_()  # what it is in theory; with maps it is a rounding error
    assert_equal(step(attention, x, training=training), expected, 1e-9)


def test_the_bias_of_theta_has_no_gradient_in_training() -> None:
    found = step(make("reattention", {}), tokens(), training=True)
    assert found["reatten_matrix.bias"].tolist() == [0.0] * HEADS


@pytest.mark.parametrize("num_tokens", [65, 197])
@pytest.mark.parametrize("training", [True, False])
def test_in_single_precision_it_stays_within_1e_5_of_double(plain: Any, num_tokens: int, training: bool) -> None:
    x = tokens(num_tokens, std=0.3)
    expected = plain(make("reattention", {}), x, training=training)
    if training:
        expected["reatten_matrix.bias"].zero_()
    found = step(make("reattention", {}, torch.float32), x, training=training)
    assert_equal(found, expected, 1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(2, 20), st.integers(1, 9), st.integers(0, 10**6))
def test_any_shape_worked_on_in_any_portions(
    num_images: int, num_heads: int, num_tokens: int, head_dim: int, seed: int
) -> None:
    torch.manual_seed(seed)
    q, k, v = (torch.randn(num_images, num_heads, num_tokens, head_dim, dtype=torch.float64) for _ in range(3))
    theta = torch.randn(num_heads, num_heads, dtype=torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (q, k, v, theta)]
    weights = torch.randn(num_heads, dtype=torch.float64)

    def gradients(mixed: Tensor, square: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((mixed.square().sum() + (square * weights).sum()), inputs)

    softmax = (q * 0.5 @ k.transpose(-2, -1)).softmax(dim=-1)
    maps = torch.einsum("gh,bhnm->bgnm", theta, softmax - 1.0 / num_tokens)
    expected = maps @ v, maps.square().mean(dim=(0, 2, 3))
    expected = (*expected, *gradients(*expected))
    with pytest.MonkeyPatch.context() as patched:
        for portion in (1, 2**12, 2**30):
            patched.setattr(map_free, "BYTES_AT_A_TIME", portion)
            found = mix_values(q, k, v, theta, 0.5)
            for one, other in zip((*found, *gradients(*found)), expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_nothing_of_the_size_of_a_map_is_kept() -> None:
    attention, x = make("reattention", {}, torch.float32), tokens(num_tokens=130).float()
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attention(x)
    assert max(sizes) <= x.numel() < 3 * HEADS * 130**2


@pytest.mark.parametrize("case", ["observed", "dropped", "few tokens", "bfloat16", "subclass"])
def test_maps_are_kept_where_somebody_needs_them(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(reattention, "mix_values", lambda *words: calls.append(True) or mix_values(*words))
    attention = make("reattention", {}, torch.float32, attn_drop=0.5 if case == "dropped" else 0.0)
    attention(tokens().float())
    assert calls == ([] if case == "dropped" else [True])
    calls.clear()
    if case == "subclass":
        attention.__class__ = type("Own", (reattention.ReAttention,), {})
    num_tokens = MAP_FREE_FROM - (1 if case == "few tokens" else 0)
    observer = (lambda *words: None) if case == "observed" else None
    with torch.autocast("cpu", enabled=case == "bfloat16"):
        attention(tokens(num_tokens).float(), ForwardContext(observer=observer))
    assert calls == []


def test_a_training_without_maps_is_the_same_one_within_the_tolerance_of_the_protocol(
    tiny_trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = replace(tiny_trial.model, attention="reattention", patch_size=1)
    trial = replace(tiny_trial, model=model, train=replace(tiny_trial.train, epochs=1, batch_size=256))
    (free,) = train(trial)
    monkeypatch.setattr(reattention, "MAP_FREE_FROM", 10**9)
    (kept,) = train(trial)
    assert free.train_loss != kept.train_loss
    assert free.train_loss == pytest.approx(kept.train_loss, rel=TOLERANCE)


def test_a_second_forward_of_one_step_moves_no_statistic() -> None:
    attention = make("reattention", {}).train()
    attention(tokens(), ForwardContext(is_recompute=True))
    assert attention.var_norm.running_mean.abs().max() == 0.0
    attention(tokens())
    assert attention.var_norm.num_batches_tracked == 1
    assert attention.var_norm.running_mean.abs().max() > 0.0
