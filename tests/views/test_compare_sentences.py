"""What the terminal says of a comparison, and what it warns of."""

from __future__ import annotations

from pathlib import Path

from orchestrator.results import ResultsDir
from orchestrator.views.compare import SweepComparison, compare_sweeps
from orchestrator.views.compare_sentences import say_comparison_lines, say_warnings, say_worse
from tests.views.scored_sweep import build_scored, drawn, score
from tests.views.sweep_builder import build_sweep, diverged

CELLS = [{"depth": depth} for depth in (4, 12)]


def compare(root: Path, a: str = "a", b: str = "b") -> SweepComparison:
    return compare_sweeps((ResultsDir(root), a), (ResultsDir(root), b))


def test_the_lines_name_cells_changes_and_both_answers(tmp_path: Path) -> None:
    build_scored(tmp_path, "a", [*CELLS, {"depth": 24}], range(6), drawn(0.85))
    build_scored(tmp_path, "b", CELLS, range(6), drawn(0.85, gain=-0.12), fixed={"lr": 1e-3})
    found = compare(tmp_path)
    text = "\n".join(say_comparison_lines(found))
    assert "only in A: depth 24" in text
    assert "changed config: train.lr 0.002 -> 0.001 (every shared cell)" in text
    (row,) = [line for line in text.splitlines() if line.startswith("depth 12 ")]
    assert "<0.001 *" in row
    assert row.endswith("seed x image, paired")
    assert "  A: " in text
    assert "  B: " in text
    (worse,) = say_worse(found, 1.0)
    assert worse.startswith("worse by more than 1 points: depth 12: ")
    assert say_worse(found, 40.0) == []
    assert say_warnings(found) == []


def test_a_sweep_that_is_not_finished_and_what_diverged_are_warned_of(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, {"depth": [4, 12]}, name="a")
    for trial in sweep.trials[:2]:
        score(sweep, trial, drawn(0.8)(trial), keeps=False)
    sweep.finish(sweep.trials[2], diverged(sweep.trials[2]))
    build_scored(tmp_path, "b", CELLS, range(3), drawn(0.85), fixed={"lr": 1e-3})
    warnings = "\n".join(say_warnings(compare(tmp_path)))
    assert "A is not finished: 3 of 6 trials have ended" in warnings
    assert "1 trials of A diverged" in warnings
    assert "1 of 1 cells are compared over seeds only" in warnings
    assert "stand in both" not in warnings
    text = "\n".join(say_comparison_lines(compare(tmp_path)))
    assert "not measured in both" in text
    assert "2/3" in text


def test_sweeps_without_a_common_cell_say_so(tmp_path: Path) -> None:
    build_scored(tmp_path, "a", CELLS[:1], range(2), drawn(0.8))
    build_scored(tmp_path, "b", CELLS[1:], range(2), drawn(0.8))
    assert "no cell stands in both sweeps" in say_comparison_lines(compare(tmp_path))


def test_shared_trials_and_single_seeds_are_named(tmp_path: Path) -> None:
    build_scored(tmp_path, "a", CELLS, [0], drawn(0.8))
    found = compare(tmp_path, "a", "a")
    assert "2 trials stand in both sweeps" in "\n".join(say_warnings(found))
    assert "no interval: one seed" in "\n".join(say_comparison_lines(found))
