"""The benchmark of Re-attention on a GPU, as far as a CPU shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.reattention_gpu import SHAPES, SMALL, Found, Step, main, make_table
from benchmarks.training_steps import NO_GPU
from orchestrator.models import reattention


def test_its_shapes_have_the_tokens_they_are_measured_for() -> None:
    assert [(shape.num_tokens, shape.batch_size) for shape in SHAPES] == [(65, 256), (197, 128)]


def test_the_table_has_a_row_a_form() -> None:
    forms = {"self": Found(1000.4, 1.0, 10.0, None), "fused": Found(913.0, 0.913, 10.25, 0.0034)}
    assert make_table({SMALL[0]: forms}).splitlines()[2:] == [
        "| small | 17 | 2 | self | 1000 | 1.00 | +0.0 |  |",
        "| small | 17 | 2 | fused | 913 | 0.91 | +0.2 | 0.34 % |",
    ]


def test_it_runs_on_a_cpu_and_writes_nothing_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, out = reattention.can_fuse, tmp_path / "table.md"
    assert main(["--device", "cpu", "--small", "--depth", "1", "--steps", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert [line.split(" | ")[3] for line in said.splitlines() if line.startswith("| small")] == ["self", "with maps"]
    assert "`python -m benchmarks reattention_gpu --device cpu --small" in said
    assert not out.exists()
    assert reattention.can_fuse is before


def test_the_forms_of_reattention_train_one_model() -> None:
    one, other = (Step(SMALL[0], form, 1, "cpu").model.state_dict() for form in ("fused", "with maps"))
    assert all(one[name].equal(other[name]) for name in one)


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == NO_GPU
    assert capsys.readouterr().err == "this benchmark needs a CUDA device, and there is none\n"
