"""Re-attention under bf16 autocast: what the published formulation loses there, and that ours does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.models import AttentionSpec
from orchestrator.models.head_norm import HeadNorm
from orchestrator.models.initialize import initialize
from orchestrator.models.reattention import ReAttention
from orchestrator.models.softmax_attention import split_heads
from tests.models.trials import make_trial


class Published(nn.Module):
    """The published order of operations around the weights of a `ReAttention`."""

    def __init__(self, ours: ReAttention) -> None:
        super().__init__()
        self.ours = copy.deepcopy(ours)
        assert ours.var_norm is not None
        self.norm = nn.BatchNorm2d(ours.num_heads)
        self.norm.load_state_dict(ours.var_norm.state_dict())

    def forward(self, x_BND: Tensor) -> Tensor:
        ours = self.ours
        q, k, v = split_heads(ours.qkv(x_BND), ours.num_heads)
        mixed = self.norm(ours.reatten_matrix((q @ k.transpose(-2, -1) * ours.scale).softmax(dim=-1)))
        out: Tensor = ours.proj((mixed @ v).transpose(1, 2).flatten(2))
        return out


def attention_at_init(dim: int, num_heads: int) -> ReAttention:
    attention = ReAttention(AttentionSpec(dim=dim, num_heads=num_heads))
    initialize(attention, make_trial(attention="reattention").model, seed=0)
    return attention


def normed_tokens(num_tokens: int, dim: int, batch: int = 4) -> Tensor:
    x = torch.randn(batch, num_tokens, dim, generator=torch.Generator().manual_seed(0))
    return F.layer_norm(x, (dim,))


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float(((found.double() - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize(("dim", "num_heads"), [(384, 12), (192, 3)])
def test_under_bf16_the_published_order_computes_noise_at_init_and_ours_does_not(dim, num_heads):
    attention, x = attention_at_init(dim, num_heads), normed_tokens(197, dim)
    exact = Published(attention).double()(x.double())
    with torch.autocast("cpu", torch.bfloat16):
        published, ours = Published(attention)(x), attention(x)
    assert ours.dtype == torch.bfloat16
    assert relative_error(published, exact) > 0.3
    assert relative_error(ours, exact) < 0.01


def test_running_statistics_and_gradients_under_bf16_are_those_of_the_published_code():
    ours, x = attention_at_init(48, 4), normed_tokens(65, 48)
    published = Published(ours).double()
    with torch.autocast("cpu", torch.bfloat16):
        ours(x).float().square().mean().backward()
    published(x.double()).square().mean().backward()
    assert ours.var_norm is not None
    torch.testing.assert_close(ours.var_norm.running_mean.double(), published.norm.running_mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.var_norm.running_var.double(), published.norm.running_var, rtol=1e-5, atol=1e-8)
    assert ours.var_norm.num_batches_tracked == 1
    for name in ("reatten_matrix.weight", "qkv.weight", "proj.weight"):
        found, expected = ours.get_parameter(name).grad, published.ours.get_parameter(name).grad
        assert found is not None
        assert expected is not None
        assert relative_error(found, expected) < 0.02, name
    bias_grad = ours.get_parameter("reatten_matrix.bias").grad
    assert bias_grad is not None
    assert not bias_grad.any()


def test_evaluation_under_bf16_agrees_with_float32_on_one_checkpoint():
    attention, x = attention_at_init(48, 4), normed_tokens(65, 48)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        for _ in range(30):
            attention(x)
        attention.eval()
        found = attention(x)
    with torch.no_grad():
        assert relative_error(found, attention(x).double()) < 0.01


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_computes_without_autocast(half):
    attention, x = attention_at_init(48, 4).eval(), normed_tokens(65, 48)
    with torch.no_grad():
        exact = attention(x).double()
        assert relative_error(copy.deepcopy(attention).to(half)(x.to(half)), exact) < 0.02


def make_norm(training: bool) -> Any:
    torch.manual_seed(0)
    norm = HeadNorm(3).double().train(training)
    for tensor in norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return norm


@pytest.mark.parametrize("training", [True, False])
def test_the_centred_form_equals_the_plain_one_in_float64(training):
    plain, centred = make_norm(training), make_norm(training)
    map_BHNN = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    weights = torch.randn(2, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    leaves = []
    for norm, call in ((plain, lambda m, o: plain(m + o[:, None, None])), (centred, centred.forward_centred)):
        x, offset = map_BHNN.clone().requires_grad_(), torch.tensor([0.3, -2.0, 1.0]).double().requires_grad_()
        out = call(x, offset)
        (out * weights).sum().backward()
        leaves.append((out, x.grad, offset.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()))
    for expected, found in zip(*leaves, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("method", ["forward", "forward_centred"])
def test_running_statistics_stand_still_without_update(method):
    norm = make_norm(training=True)
    before = copy.deepcopy(norm.state_dict())
    offset = () if method == "forward" else (torch.ones(3).double(),)
    x = torch.randn(2, 3, 5, 5).double()
    still = getattr(norm, method)(x, *offset, update=False)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert torch.equal(getattr(norm, method)(x, *offset), still)
    assert not torch.equal(norm.running_mean, before["running_mean"])
