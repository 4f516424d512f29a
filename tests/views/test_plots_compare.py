"""The figure of deltas: exactly the numbers of the comparison, whatever it holds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orchestrator.results import ResultsDir
from orchestrator.views.compare import SweepComparison, compare_sweeps
from orchestrator.views.plots_compare import COLUMN_TYPES, MAX_ROWS, VERDICTS, compare_data, plot_compare
from tests.views.scored_sweep import build_scored, drawn
from tests.views.sweep_builder import build_sweep

CELLS = [{"depth": depth} for depth in (4, 12)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> SweepComparison:
    tmp_path = tmp_path_factory.mktemp("compared")
    build_scored(tmp_path, "a", CELLS, range(6), drawn(0.85))
    build_scored(tmp_path, "b", CELLS, range(6), drawn(0.85, gain=-0.12), fixed={"lr": 1e-3})
    return compare_sweeps((ResultsDir(tmp_path), "a"), (ResultsDir(tmp_path), "b"))


def test_the_frame_holds_the_deltas_in_points(compared: SweepComparison) -> None:
    data = compare_data(compared)
    estimates = [found.estimate for _, found in compared.judged]
    assert data["delta_points"].tolist() == pytest.approx([100 * found.value for found in estimates])
    assert data["high_points"].tolist() == pytest.approx([100 * (found.high or 0.0) for found in estimates])
    assert data["verdict"].tolist() == ["not shown", "worse"]
    assert data["changes"].tolist() == ["config: train.lr 0.002 -> 0.001"] * 2


def test_every_cell_is_a_row_with_its_marker_and_interval(compared: SweepComparison) -> None:
    figure = plot_compare(compare_data(compared), "a", "b")
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.get_yticklabels()] == ["depth 4", "depth 12"]
    assert {line.get_marker() for line in panel.lines} >= {VERDICTS["worse"][1], VERDICTS["not shown"][1]}
    assert len(panel.collections) == 2
    assert panel.get_xlabel() == "Test accuracy of b minus a (points)"
    low, high = panel.get_ylim()
    assert low > high, "the first cell stands at the top"


def test_an_unfinished_comparison_is_an_empty_figure_that_says_so(tmp_path: Path) -> None:
    build_sweep(tmp_path, {"depth": [12]}, name="a")
    found = compare_sweeps((ResultsDir(tmp_path), "a"), (ResultsDir(tmp_path), "a"))
    data = compare_data(found)
    assert (len(data), list(data.columns)) == (0, list(COLUMN_TYPES))
    assert plot_compare(data, "a", "a").axes[0].texts


def test_single_seeds_have_a_marker_and_no_interval_and_long_lists_are_cut(compared: SweepComparison) -> None:
    row = compare_data(compared).iloc[[0]].assign(low_points=float("nan"), high_points=float("nan"))
    (panel,) = plot_compare(pd.concat([row] * (MAX_ROWS + 5)), "a", "b").axes
    assert len(panel.get_yticks()) == MAX_ROWS
    assert len(panel.collections) == 0
