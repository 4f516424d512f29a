"""Figures: what is drawn is what the data says, nothing covers anything, no global state."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.views.figure_data import accuracy_vs_depth_data, accuracy_vs_params_data
from orchestrator.views.plots import plot_accuracy_curves, plot_accuracy_vs_cost
from orchestrator.views.table import summarize_cells
from tests.views.sweep_builder import make_table

LONG = "AnAttentionWhoseClassNameIsVeryLongIndeedAndGoesOn"


def sweep(
    depths: tuple[int, ...] = (12, 24, 32), attentions: tuple[str, ...] = ("self", "reattention"), seeds: int = 3
) -> pd.DataFrame:
    rows = [
        {
            "depth": depth,
            "attention": name,
            "seed": seed,
            "test_acc": 0.8 + depth / 400 + seed / 100,
            "num_params": depth,
        }
        for depth, name, seed in product(depths, attentions, range(seeds))
    ]
    return make_table(rows)


def accuracy(table: pd.DataFrame) -> Figure:
    return plot_accuracy_curves(accuracy_vs_depth_data(summarize_cells(table), table))


def drawn(panel: Axes, marker: str) -> list[float]:
    """Heights of the points with that marker."""
    return [float(y) for line in panel.lines if line.get_marker() == marker for y in np.asarray(line.get_ydata())]


def boxes_overlap(figure: Figure) -> list[str]:
    """Pairs of panels and legends that cover each other, or leave the page."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    parts = {f"panel {number}": panel.get_tightbbox(renderer) for number, panel in enumerate(figure.axes)}
    parts |= {f"legend {number}": legend.get_window_extent(renderer) for number, legend in enumerate(figure.legends)}
    names = list(parts)
    found = [f"{a} and {b}" for n, a in enumerate(names) for b in names[n + 1 :] if parts[a].overlaps(parts[b])]
    page = figure.bbox.padded(1.0)
    return found + [name for name, box in parts.items() if not (page.x0 <= box.x0 and box.x1 <= page.x1)]


def with_agg(figure: Figure) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return figure


def test_marks_bars_and_dots_are_the_numbers_of_the_data() -> None:
    table = sweep()
    data = accuracy_vs_depth_data(summarize_cells(table), table)
    ours, published = accuracy(table).axes
    means = data[data["kind"] == "mean"]
    dots = [y for line in ours.lines if line.get_markersize() == 2.6 for y in np.asarray(line.get_ydata())]
    bars = np.sort([segment[:, 1] for bundle in ours.collections for segment in bundle.get_segments()], axis=0)  # type: ignore[attr-defined]
    squares = [y for line in ours.lines if line.get_marker() == "s" for y in np.asarray(line.get_ydata())]
    assert sorted(squares) == sorted(means.loc[means["curve"] == "reattention", "acc_percent"])
    assert sorted(dots) == sorted(data.loc[data["kind"] == "seed", "acc_percent"])
    assert bars.tolist() == np.sort(means[["low_percent", "high_percent"]].to_numpy(), axis=0).tolist()
    assert sorted(drawn(published, "s")) == [77.9, 79.1, 79.99, 80.9]


def test_ticks_stand_at_the_depths_and_axes_name_their_units() -> None:
    panel = accuracy(sweep()).axes[0]
    assert list(panel.get_xticks()) == [12, 24, 32]
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("Depth (transformer blocks)", "Test accuracy (%)")


def test_the_legend_states_n_for_each_curve() -> None:
    table = sweep()
    table.loc[0, "state"] = "FAIL"
    texts = [text.get_text() for text in accuracy(table).legends[0].get_texts()]
    assert texts == ["self (n = 2 to 3)", "reattention (n = 3)", "one seed"]


def test_a_missing_cell_leaves_a_gap_and_no_zero() -> None:
    table = sweep(attentions=("self",))
    table.loc[table["depth"] == 24, ["state", "test_acc"]] = ["WAITING", None]
    panel = accuracy(table).axes[0]
    assert min(drawn(panel, "o")) > 80
    assert panel.get_ylim()[0] > 50


def test_a_diverged_cell_is_a_cross_on_the_floor() -> None:
    table = sweep(attentions=("self",))
    table.loc[table["depth"] == 32, ["state", "test_acc"]] = ["DIVERGED", None]
    figure = accuracy(table)
    assert drawn(figure.axes[0], "x") == [0.03] * 3  # a share of the panel's height, not an accuracy
    assert "diverged, no accuracy" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_parameters_are_drawn_as_the_data_says() -> None:
    table = sweep()
    cells = summarize_cells(table)
    panel = plot_accuracy_vs_cost(accuracy_vs_params_data(cells), "num_params").axes[0]
    data = accuracy_vs_params_data(cells)
    line = next(line for line in panel.lines if line.get_marker() == "s")
    expected = data[data["curve"] == "reattention"]
    assert np.asarray(line.get_xdata()).tolist() == expected["num_params"].tolist()
    assert np.asarray(line.get_ydata()).tolist() == expected["acc_percent"].tolist()
    assert {text.get_text() for text in panel.texts} == {"12", "24", "32"}


CASES: dict[str, dict[str, Any]] = {
    "usual": {},
    "one depth": {"depths": (12,)},
    "one seed": {"seeds": 1},
    "two seeds": {"seeds": 2},
    "one point": {"depths": (12,), "attentions": ("self",), "seeds": 1},
    "many depths": {"depths": tuple(range(1, 33)), "seeds": 1},
    "twelve curves": {"attentions": tuple(f"kind{number}" for number in range(12)), "seeds": 2},
    "long names": {"attentions": ("self", LONG, LONG + "Again", LONG + "AndAgain")},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_covers_anything_and_nothing_leaves_the_page(case: dict[str, Any]) -> None:
    table = sweep(**case)
    cells = summarize_cells(table)
    for figure in (
        plot_accuracy_curves(accuracy_vs_depth_data(cells, table)),
        plot_accuracy_vs_cost(accuracy_vs_params_data(cells), "num_params"),
    ):
        assert boxes_overlap(with_agg(figure)) == []


def test_an_empty_sweep_says_that_nothing_finished() -> None:
    table = sweep()
    table["state"], table["test_acc"] = "WAITING", np.nan
    figure = accuracy(table)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no finished trial yet"]
    empty = plot_accuracy_vs_cost(accuracy_vs_params_data(summarize_cells(table)), "num_params")
    assert [text.get_text() for text in empty.axes[0].texts] == ["no finished trial yet"]


def test_plotting_leaves_no_global_state() -> None:
    code = (
        "import sys, matplotlib; before = dict(matplotlib.rcParams)\n"
        "from tests.views.test_plots import accuracy, sweep\n"
        "accuracy(sweep())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert dict(matplotlib.rcParams) == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
