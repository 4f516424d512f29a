"""fused_kernels.py: a GPU's compiler takes the kernels, which no interpreter shows, and a GPU computes what it should.

The compiler needs no GPU: Triton is told of one. `test_fused.py` has what the interpreter can show.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.fused_cost import COLUMNS, KERNELS
from orchestrator.models import fused, reattention
from orchestrator.models.fused import can_fuse, mix_fused
from orchestrator.models.map_free import mix_values
from orchestrator.models.reattention import ReAttention
from orchestrator.models.softmax_attention import AttentionSpec
from tests.models.test_fused import NAMES, draw, largest_errors, needs_triton, results

SHARED_KIB_OF_H100 = 227


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_compiler_of_a_gpu_takes_the_kernels(dtype: str, tmp_path: Path) -> None:
    shapes = [(3, 33, 64), (6, 33, 64), (12, 33, 32)] + [(16, 33, 64)] * (dtype == "bfloat16")
    words = [word for shape in shapes for word in ("--shape", *map(str, shape))]
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:triton", "-m", "benchmarks", "fused_cost", "--dtype", dtype, *words],
        cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "_kernel" in line]
    assert [tuple(row[:2]) for row in rows] == [
        (", ".join(map(str, shape)), kernel) for shape in shapes for kernel in KERNELS
    ], done.stderr
    for row in rows:
        cost = dict(zip(COLUMNS, row, strict=True))
        assert int(cost["shared KiB"]) < SHARED_KIB_OF_H100
        assert (float(cost["products"]) > 0.0) == (dtype == "bfloat16")  # tensor cores
        assert int(cost["spilled"]) <= (400 if dtype == "bfloat16" else 1000)


def on_gpu(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.cuda() for tensor in tensors]


@pytest.mark.gpu
@pytest.mark.parametrize(
    "shape", [(2, 3, 65, 64), (2, 12, 65, 32), (2, 6, 197, 64), (2, 12, 197, 32), (1, 16, 260, 16)]
)
def test_on_a_gpu_in_float32_it_is_mix_values_to_1e_4(shape: tuple[int, int, int, int]) -> None:
    inputs = on_gpu(draw(*shape))
    assert can_fuse(*inputs)
    expected = results(mix_values, inputs, torch.float64)
    found, again = results(mix_fused, inputs), results(mix_fused, inputs)
    assert max(largest_errors(found, expected).values()) < 1e-4
    assert all(found[name].equal(again[name]) for name in NAMES)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(2, 12, 197, 32), (2, 6, 197, 64), (2, 16, 197, 64), (2, 3, 65, 64)])
def test_on_a_gpu_in_bfloat16_a_near_uniform_map_keeps_its_ripple(shape: tuple[int, int, int, int]) -> None:
    q, k, v, theta = on_gpu(draw(*shape, dtype=torch.bfloat16))
    inputs = [q * 0.4, k * 0.4, v, theta]  # logits of deviation 0.15, those of timm's start
    assert can_fuse(*inputs)
    expected, found = results(mix_values, inputs, torch.float64), results(mix_fused, inputs)
    for name in NAMES:
        error = float((found[name].double() - expected[name]).norm() / expected[name].norm())
        assert error < (1e-2 if name == "out" else 2e-2), name


@pytest.mark.gpu
def test_on_a_gpu_a_step_under_autocast_is_the_one_with_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    one = ReAttention(AttentionSpec(dim=384, num_heads=12, options={})).cuda()
    other, x = copy.deepcopy(one), torch.randn(4, 65, 384).cuda()
    gradients = []
    for attention, is_fused in ((one, True), (other, False)):
        if not is_fused:
            monkeypatch.setattr(reattention, "can_fuse", lambda *_: False)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            out = attention(x)
        assert out.dtype == torch.bfloat16
        out.float().square().sum().backward()
        assert attention.qkv.weight.grad is not None
        gradients.append(attention.qkv.weight.grad)
    assert None in fused._verdicts.values()
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < 5e-2
    assert one.var_norm is not None
    assert other.var_norm is not None
    torch.testing.assert_close(one.var_norm.running_var, other.var_norm.running_var, rtol=2e-2, atol=0.0)


def test_a_full_gpu_says_nothing_of_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fused, "mix_fused", full)
    monkeypatch.setattr(fused, "why_not_fused", lambda *_: None)
    monkeypatch.setattr(fused, "_verdicts", {})
    with pytest.raises(torch.OutOfMemoryError):
        can_fuse(*draw(2, 3, 17, 16))
    assert fused._verdicts == {}
