"""The files of a comparison and the command that writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import run_command
from orchestrator.results import ResultsDir
from orchestrator.views.compare import compare_sweeps
from orchestrator.views.compare_files import write_comparison
from tests.views.scored_sweep import build_scored, drawn

CELLS = [{"depth": depth} for depth in (4, 12)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`old`, and `new` in another root, which is worse at 12 blocks."""
    build_scored(tmp_path, "old", CELLS, range(6), drawn(0.85))
    build_scored(tmp_path / "other", "new", CELLS, range(6, 12), drawn(0.85, gain=-0.12))
    return tmp_path


def test_the_figure_stands_beside_its_numbers_and_is_equal_every_time(root: Path) -> None:
    found = compare_sweeps((ResultsDir(root), "old"), (ResultsDir(root / "other"), "new"))
    paths = write_comparison(found)
    assert [path.suffix for path in paths] == [".svg", ".png", ".pdf", ".csv"]
    assert {path.parent for path in paths} == {root / "other/sweeps/new/report/compare"}
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_comparison(found, root / "again")] == first
    assert first[3].startswith(b"cell,verdict,delta_points")


def words(root: Path, *options: str) -> list[str]:
    return ["compare", "old", f"{root / 'other'}:new", "--results", str(root), *options]


def test_the_command_tells_the_cells_and_where_the_figure_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words(root, "--output", str(root / "out"))) == 0
    out = capsys.readouterr().out
    assert "seed x image, unpaired" in out
    assert str(root / "out/delta_old_new.svg") in out
    assert (root / "out/delta_old_new.csv").exists()


@pytest.mark.parametrize(("points", "code"), [("5", 1), ("30", 0)])
def test_the_exit_code_is_for_cells_that_are_worse_by_more(
    root: Path, points: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(words(root, "--fail-if-worse", points, "--json")) == code
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document["worse"] == (["depth 12"] if code else [])
    assert document["fail_if_worse"] == float(points)
    assert len(document["files"]) == 4
    assert ("worse by more than" in captured.err) == bool(code)


def test_a_gate_without_anything_to_judge_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_scored(tmp_path, "old", CELLS, [0], drawn(0.85))
    assert run_command(["compare", "old", "old", "--results", str(tmp_path), "--fail-if-worse", "1"]) == 2
    assert "nothing to judge" in capsys.readouterr().err
    assert run_command(["compare", "old", "old", "--results", str(tmp_path)]) == 0


@pytest.mark.parametrize("points", ["nan", "inf"])
def test_a_gate_that_nothing_can_fail_is_refused(root: Path, points: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "old", "new", "--results", str(root), "--fail-if-worse", points]) == 2
    assert "a number of points" in capsys.readouterr().err


def test_a_sweep_that_is_not_there_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "old", "nwe", "--results", str(root)]) == 2
    assert "there is no sweep 'nwe'" in capsys.readouterr().err
