"""The benchmark of Re-attention on a GPU, as far as a CPU shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.reattention_gpu import (
    CASES,
    SMALL,
    Found,
    cases_of,
    forms_on,
    main,
    make_table,
    measure,
    taken_as,
    ways_on,
)
from benchmarks.training_steps import NO_GPU
from orchestrator.cost import num_tokens
from orchestrator.models import reattention


def test_its_shapes_have_the_tokens_they_are_measured_for() -> None:
    found = [(num_tokens(case.trial("self", 12).model), case.batch_size) for case in CASES]
    assert found == [(65, 256), (197, 128)]


def test_shapes_are_chosen_by_their_tokens() -> None:
    assert cases_of(None, small=False) == list(CASES)
    assert cases_of([197], small=False) == [CASES[1]]
    assert cases_of([65], small=True) == []


def test_the_table_has_a_row_a_way_and_form() -> None:
    forms = {
        ("plain", "self"): Found(1000.4, 1.0, 10.0, 0.002),
        ("plain", "fused"): Found(913.0, 0.913, 10.25, 0.0034),
    }
    assert make_table({SMALL[0]: forms}).splitlines()[2:] == [
        "| small | 2 | plain | self | 1000 | 1.00 | +0.0 | 0.20 % |",
        "| small | 2 | plain | fused | 913 | 0.91 | +0.2 | 0.34 % |",
    ]


def test_it_runs_on_a_cpu_and_writes_nothing_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, out = reattention.can_fuse, tmp_path / "table.md"
    assert main(["--device", "cpu", "--small", "--depth", "1", "--steps", "1", "--rounds", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert [line.split(" | ")[3] for line in said.splitlines() if line.startswith("| small")] == ["self", "with maps"]
    assert "`python -m benchmarks reattention_gpu --device cpu --small" in said
    assert not out.exists()
    assert reattention.can_fuse is before


def test_maps_are_kept_inside_that_form_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reattention, "can_fuse", lambda *_: True)
    for form, is_fused in (("fused", True), ("with maps", False), ("self", True)):
        with taken_as(form):
            assert reattention.can_fuse() is is_fused  # type: ignore[call-arg]
    assert reattention.can_fuse() is True  # type: ignore[call-arg]


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_gpu_takes_every_way_and_form() -> None:
    expected = [(way, form) for way in ways_on("cuda") for form in forms_on("cuda")]
    assert list(measure(SMALL[0], 2, 2, 1, "cuda")) == expected


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == NO_GPU
    assert capsys.readouterr().err == "this benchmark needs a CUDA device, and there is none\n"
