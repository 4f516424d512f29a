"""fused.py and fused_kernels.py under Triton's interpreter, against `mix_values`.

The interpreter has to be chosen before triton is imported: `test_fused.py` runs this file in a process of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.models import fused
from orchestrator.models.fused import can_fuse, mix_fused, why_not_fused
from orchestrator.models.map_free import mix_values
from tests.models.test_fused import NAMES, draw, largest_errors, results

pytestmark = pytest.mark.skipif(not fused.is_interpreted(), reason="another process runs it, interpreted")


@pytest.fixture(autouse=True)
def no_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_verdicts", {})


@pytest.fixture
def rounds_to_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a GPU rounds to bfloat16; the interpreter cuts bits off."""
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    cut = InterpreterBuilder.cast_impl

    def cast(self: Any, source: Any, kind: Any) -> Any:
        if source.data.dtype == np.float32 and str(kind.scalar) == "bf16":
            rounded = torch.from_numpy(np.ascontiguousarray(source.data)).bfloat16()
            return TensorHandle(rounded.view(torch.uint16).numpy(), kind.scalar)
        return cut(self, source, kind)

    monkeypatch.setattr(InterpreterBuilder, "cast_impl", cast)


SHAPES = [
    (2, 1, 5, 16), (1, 3, 17, 48), (1, 12, 17, 32), (1, 16, 17, 16), (2, 6, 33, 20), (1, 3, 65, 64), (1, 12, 65, 32),
    (1, 1, 197, 32), (1, 2, 260, 16),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_in_float32_it_is_mix_values_to_1e_5(shape: tuple[int, int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = draw(*shape)
    if shape[2] > 100:  # the interpreter takes a second for a hundred tiles, whatever their size
        monkeypatch.setattr(fused, "_tile_sizes", lambda *_: (64, 64, 64))
    assert why_not_fused(*inputs) is None
    found = results(mix_fused, inputs)
    assert max(largest_errors(found, results(mix_values, inputs, torch.float64)).values()) < 1e-5
    again = results(mix_fused, inputs)
    assert all(found[name].equal(again[name]) for name in NAMES)


@pytest.mark.usefixtures("rounds_to_nearest")
@pytest.mark.parametrize("shape", [(1, 3, 65, 64), (1, 12, 65, 32), (2, 16, 17, 48)])
def test_in_bfloat16_it_rounds_operands_and_nothing_else(shape: tuple[int, int, int, int]) -> None:
    inputs = draw(*shape, dtype=torch.bfloat16)
    found = results(mix_fused, inputs)
    assert [found[name].dtype for name in NAMES] == [
        torch.bfloat16,
        torch.float32,
        *[torch.bfloat16] * 3,
        torch.float32,
    ]
    assert max(largest_errors(found, results(mix_values, inputs, torch.float64)).values()) < 1e-2


@pytest.mark.usefixtures("rounds_to_nearest")
@pytest.mark.parametrize("name", ["k", "v"])
def test_what_keys_or_values_have_in_common_costs_gradients_no_precision(name: str) -> None:
    q, k, v, theta = draw(1, 12, 65, 32, dtype=torch.bfloat16)
    common = 8.0 * torch.randn(1, 12, 1, 32, generator=torch.Generator().manual_seed(2)).bfloat16()
    inputs = [q * 0.25, k + common, v, theta] if name == "k" else [q, k, v + common, theta]
    found, expected = results(mix_fused, inputs), results(mix_values, inputs, torch.float64)
    for other in ("q", "k", "theta"):
        assert float((found[other].double() - expected[other]).norm() / expected[other].norm()) < 6e-3, other


@pytest.mark.usefixtures("rounds_to_nearest")
def test_a_near_uniform_map_in_bfloat16_keeps_its_ripple() -> None:
    q, k, v, theta = draw(1, 12, 65, 32, dtype=torch.bfloat16)
    inputs = [q * 0.4, k * 0.4, v, theta]
    expected, _ = mix_values(*(tensor.double() for tensor in inputs), 32**-0.5)
    found, _ = mix_fused(*inputs, 32**-0.5)
    assert float((found.double() - expected).norm() / expected.norm()) < 5e-3


def test_it_takes_any_strides_and_lays_its_output_out_for_merging() -> None:
    inputs = draw(2, 3, 17, 16)
    others = [inputs[0].contiguous(), inputs[1], inputs[2].transpose(2, 3).contiguous().transpose(2, 3), inputs[3].T]
    others[3] = others[3].contiguous().T
    one, other = results(mix_fused, inputs), results(mix_fused, others)
    assert all(one[name].equal(other[name]) for name in ("out", "square", "v"))
    assert max(largest_errors(one, other).values()) < 1e-6  # the mean of values adds up in another order
    assert mix_fused(*inputs, 0.25)[0].transpose(1, 2).is_contiguous()


def test_only_the_inputs_and_a_number_a_row_are_kept() -> None:
    inputs = [tensor.requires_grad_() for tensor in draw(1, 3, 65, 16)]
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        mix_fused(*inputs, 0.25)
    others = [tensor.shape for tensor in kept if all(tensor is not one for one in inputs)]
    assert [tensor.numel() for tensor in kept] == [*(tensor.numel() for tensor in inputs), 3 * 65], others


def test_the_check_passes_draws_from_no_stream_and_happens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, state = draw(1, 3, 17, 16), torch.get_rng_state()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert can_fuse(*inputs)
    assert torch.get_rng_state().equal(state)
    monkeypatch.setattr(fused, "failed_check", lambda *_: pytest.fail("checked twice"))
    assert can_fuse(*draw(5, 3, 17, 16))
