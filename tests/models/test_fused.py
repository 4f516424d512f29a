"""fused.py: the kernels' check before use, and who is sent away; `test_fused_interpreted.py` has what they compute."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.layers import Attention
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from orchestrator.models import fused, reattention
from orchestrator.models.context import ForwardContext
from orchestrator.models.fused import can_fuse, failed_check, why_not_fused
from orchestrator.models.map_free import mix_values
from orchestrator.models.reattention import ReAttention
from orchestrator.models.softmax_attention import AttentionSpec

ROOT = Path(__file__).parents[2]
NAMES = ("out", "square", "q", "k", "v", "theta")
needs_triton = pytest.mark.skipif(not fused._has_triton(), reason="triton is not installed")


@pytest.fixture(autouse=True)
def no_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_verdicts", {})


def draw(
    num_images: int,
    num_heads: int,
    num_tokens: int,
    head_dim: int,
    dtype: torch.dtype = torch.float32,
    std: float = 1.0,
) -> list[Tensor]:
    """q, k, v as parts of one projection, and Theta."""
    generator = torch.Generator().manual_seed(num_tokens)
    qkv = torch.randn(num_images, num_tokens, 3, num_heads, head_dim, generator=generator).to(dtype)
    theta = torch.randn(num_heads, num_heads, generator=generator) / num_heads**0.5
    q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    return [q, k, v, theta]


def results(mixer: Callable[..., Any], inputs: list[Tensor], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Output, mean square, and the gradients of a sum of both that neither rules alone."""
    leaves = [tensor.to(dtype or tensor.dtype).detach().requires_grad_() for tensor in inputs]
    out, square = mixer(*leaves, leaves[0].shape[-1] ** -0.5)
    generator, num_tokens = torch.Generator().manual_seed(1), out.shape[2]
    of_out = torch.randn(out.shape, generator=generator).to(inputs[2].dtype).to(out)
    of_square = torch.randn(square.shape, generator=generator).to(square) * num_tokens**3
    found = (out, square, *torch.autograd.grad((out, square), leaves, (of_out, of_square)))
    return {name: tensor.detach() for name, tensor in zip(NAMES, found, strict=True)}


def largest_errors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """Of each tensor, over its largest magnitude."""
    return {
        name: float((found[name].double() - value).abs().max() / value.abs().max()) for name, value in expected.items()
    }


def wrong_mix(q: Tensor, k: Tensor, v: Tensor, theta: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    out, square = mix_values(q, k, v, theta, scale)
    return out * 1.001, square


def broken_mix(*_: object) -> tuple[Tensor, Tensor]:
    raise RuntimeError("PassManager::run failed")


BREAKS = [(wrong_mix, "is off by 1.0e-03 of its norm"), (broken_mix, "RuntimeError: PassManager::run failed")]


@pytest.mark.parametrize(("broken", "reason"), BREAKS)
def test_a_kernel_that_fails_its_check_is_not_used_and_that_is_said_once(
    broken: Any, reason: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fused, "mix_fused", broken)
    monkeypatch.setattr(fused, "why_not_fused", lambda *_: None)
    with caplog.at_level(logging.WARNING, logger="orchestrator"):
        assert [can_fuse(*draw(2, 3, 17, 16)) for _ in range(3)] == [False] * 3
    (record,) = caplog.records
    assert record.name == "orchestrator"
    assert reason in record.getMessage()


def test_a_kernel_that_returns_nan_fails_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "mix_fused", lambda *words: tuple(x * float("nan") for x in mix_values(*words)))
    assert "nan" in str(failed_check(draw(1, 3, 17, 16)[0]))


CASES: list[tuple[dict[str, Any], str]] = [
    ({"dtype": torch.float64}, "float32 or bfloat16"),
    ({"dtype": torch.float16}, "float32 or bfloat16"),
    ({"num_heads": 17}, "up to 16 heads, not 17"),
    ({"head_dim": 8}, "16 to 64 channels a head, not 8"),
    ({"head_dim": 128}, "16 to 64 channels a head, not 128"),
    ({"num_heads": 12, "head_dim": 64}, "no room"),
    ({"num_tokens": 1025}, "up to 1024 tokens"),
]


@pytest.mark.parametrize(("changed", "reason"), CASES)
def test_what_is_not_supported_has_a_reason(
    changed: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(fused, "_has_triton", lambda: True)
    shape = {"num_images": 1, "num_heads": 3, "num_tokens": 5, "head_dim": 16}
    assert why_not_fused(*draw(**shape)) is None
    assert reason in str(why_not_fused(*draw(**{**shape, **changed})))
    q, k, v, theta = draw(**shape)
    assert "Theta in float32" in str(why_not_fused(q, k, v, theta.double()))
    assert "one shape" in str(why_not_fused(q, k[:, :, :3], v, theta))


def test_without_a_gpu_or_triton_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "on cpu" in str(why_not_fused(*draw(1, 3, 5, 16)))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(fused, "_has_triton", lambda: False)
    assert "not installed" in str(why_not_fused(*draw(1, 3, 5, 16)))


class OnCuda(Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    is_cuda = True  # type: ignore[assignment]


def attention_and_tokens() -> tuple[ReAttention, Tensor]:
    torch.manual_seed(0)
    attention = ReAttention(AttentionSpec(dim=48, num_heads=3, options={}))
    return attention, torch.randn(2, 17, 48).as_subclass(OnCuda)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of the ways of a GPU were taken; the kernels are `mix_values` here."""
    found: list[str] = []
    monkeypatch.setattr(reattention, "can_fuse", lambda *_: True)
    monkeypatch.setattr(reattention, "mix_fused", lambda *words: found.append("fused") or mix_values(*words))
    return found


def test_on_a_gpu_the_kernels_serve_where_they_may_and_maps_are_kept_elsewhere(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    attention, x = attention_and_tokens()
    expected = attention.eval()(x.as_subclass(Tensor))
    assert calls == []
    torch.testing.assert_close(attention(x).as_subclass(Tensor), expected, rtol=1e-4, atol=1e-5)
    assert calls == ["fused"]
    attention(x, ForwardContext(observer=lambda *_: None))
    assert calls == ["fused"]
    monkeypatch.setattr(reattention, "can_fuse", lambda *_: False)
    assert attention(x).as_subclass(Tensor).equal(expected)
    assert calls == ["fused"]


def test_under_autocast_the_projection_gives_what_autocast_gives(calls: list[str]) -> None:
    attention, x = attention_and_tokens()
    exact = attention(x.as_subclass(Tensor))
    seen: list[torch.dtype] = []
    with pytest.MonkeyPatch.context() as patched, torch.autocast("cpu", dtype=torch.bfloat16):
        real = reattention.mix_fused
        patched.setattr(reattention, "mix_fused", lambda *words: seen.append(words[2].dtype) or _in_float(real, words))
        out = attention(x).as_subclass(Tensor)
    assert (calls, seen, out.dtype) == (["fused"], [torch.bfloat16], torch.bfloat16)
    assert float((out - exact).detach().norm() / exact.detach().norm()) < 2e-2
    out.sum().backward()
    assert attention.reatten_matrix.weight.grad is not None


def _in_float(mixer: Callable[..., tuple[Tensor, Tensor]], words: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    q, k, v, theta, scale = words
    with torch.autocast("cpu", enabled=False):
        out, square = mixer(q.float(), k.float(), v.float(), theta, scale)
    return out.to(v.dtype), square


class _NoOperation(torch.autograd.Function):
    """In the place of the kernels: counts as nothing."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(q, k, v, theta)
        return torch.empty_like(v.transpose(1, 2)).transpose(1, 2), theta.new_empty(len(theta))

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors)


class _Launches(TorchDispatchMode):
    """Counts what would be launched on a GPU: all but views and memory."""

    VIEWS = ("view", "transpose", "permute", "t", "expand", "slice", "select", "unbind", "unsqueeze", "detach", "alias")
    MEMORY = ("empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "as_strided", "split", "squeeze")

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += func.overloadpacket.__name__ not in self.VIEWS + self.MEMORY
        return func(*args, **(kwargs or {}))


def test_few_operations_stand_around_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    attention, x = attention_and_tokens()
    monkeypatch.setattr(reattention, "can_fuse", lambda *_: True)
    monkeypatch.setattr(reattention, "mix_fused", lambda *words: _NoOperation.apply(*words[:4]))
    numbers = []
    for self_or_re in (Attention(48, num_heads=3, qkv_bias=True), attention):
        tokens = x if self_or_re is attention else x.as_subclass(Tensor)
        with _Launches() as forward, torch.autocast("cpu", dtype=torch.bfloat16):
            out = self_or_re(tokens).as_subclass(Tensor)
        with _Launches() as backward:
            out.backward(torch.ones_like(out))
        numbers.append((forward.number, backward.number))
    (self_forward, self_backward), (re_forward, re_backward) = numbers
    assert re_forward - self_forward <= 17
    assert re_backward - self_backward <= 19


WITHOUT_TRITON = """
import os, sys, torch
sys.modules["triton"] = None  # as if it were not installed; timm imports it by way of torch where it is
from orchestrator.models.fused import why_not_fused
from orchestrator.models.reattention import ReAttention
from orchestrator.models.softmax_attention import AttentionSpec
ReAttention(AttentionSpec(dim=48, num_heads=3, options={}))(torch.randn(1, 70, 48)).sum().backward()
os.environ["TRITON_INTERPRET"] = "1"
print(why_not_fused(*[torch.zeros(1, 2, 5, 16)] * 3, torch.zeros(2, 2)))
print([name for name in sys.modules if name.endswith("fused_kernels")])
"""


def run_apart(*words: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_cpu_needs_no_triton() -> None:
    said = run_apart("-W", "ignore", "-c", WITHOUT_TRITON).splitlines()
    assert said == ["the fused kernels need triton, which is not installed", "[]"]


@needs_triton
@pytest.mark.slow
def test_the_interpreted_tests_pass() -> None:
    words = ("-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider", "tests/models/test_fused_interpreted.py")
    assert "passed" in run_apart(*words, TRITON_INTERPRET="1")
