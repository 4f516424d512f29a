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

from orchestrator.models import fused, reattention
from orchestrator.models.fused import can_fuse, mix_fused
from orchestrator.models.map_free import mix_values
from orchestrator.models.reattention import ReAttention
from orchestrator.models.softmax_attention import AttentionSpec
from tests.models.test_fused import NAMES, draw, largest_errors, needs_triton, results

COMPILE = """
import sys
import torch, triton
from triton.backends.compiler import GPUTarget

class Told:
    get_current_target = lambda self: GPUTarget("cuda", 90, 32)
    get_current_device = get_current_stream = lambda self, *_: 0

triton.runtime.driver.set_active(Told())
from orchestrator.models import fused, fused_kernels

class Compiled:
    def __init__(self, name):
        self.kernel = getattr(real, name)
    def __getitem__(self, grid):
        def compile(*words, **options):
            asm = self.kernel.warmup(*words, grid=grid, **options)
            print(self.kernel.__name__, asm.metadata.shared, asm.asm["ptx"].count("mma.sync"), flush=True)
        return compile

real = sys.modules["orchestrator.models.fused_kernels"]
class Kernels:
    __getattr__ = lambda self, name: Compiled(name)
sys.modules["orchestrator.models.fused_kernels"] = Kernels()
import orchestrator.models
orchestrator.models.fused_kernels = Kernels()
heads, head_dim = int(sys.argv[1]), int(sys.argv[2])
q = torch.zeros(1, heads, 33, head_dim, dtype=getattr(torch, sys.argv[3])).requires_grad_()
out, square = fused.mix_fused(q, q, q, torch.zeros(heads, heads), 0.5)
(out.sum() + square.sum()).backward()
"""
SHARED_OF_H100 = 232448


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    [(3, 64, "bfloat16"), (6, 64, "bfloat16"), (12, 32, "bfloat16"), (16, 64, "bfloat16"), (12, 32, "float32")],
)
def test_the_compiler_of_a_gpu_takes_the_kernels(shape: tuple[int, int, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:triton", "-c", COMPILE, *map(str, shape)],
        cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == ["forward_kernel", "rows_kernel", "keys_kernel"], done.stderr
    for _, shared, num_products in lines:
        assert int(shared) <= SHARED_OF_H100
        assert (int(num_products) > 0) == (shape[2] == "bfloat16")  # tensor cores


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
