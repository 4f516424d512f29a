"""A comparison of two sweeps in; the figure of its deltas out, a row a cell, with the frame of the numbers it draws."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from orchestrator.views.compare import ComparedCell, SweepComparison
from orchestrator.views.plots_axes import say_empty
from orchestrator.views.plots_style import BLUE, FULL_WIDTH_IN, MUTED, VERMILLION, house_style, settle, shorten

VERDICTS = {"better": (BLUE, "^"), "worse": (VERMILLION, "v"), "not shown": (MUTED, "o")}
"""What is said of a cell of B, with its colour and marker."""

COLUMN_TYPES = {
    "cell": "string",
    "verdict": "string",
    "delta_points": "float64",
    "low_points": "float64",
    "high_points": "float64",
    "holm_p": "float64",
    "num_seeds_a": "Int64",
    "num_seeds_b": "Int64",
    "method": "string",
    "is_paired": "boolean",
    "changes": "string",
}
MAX_ROWS = 60
"""Of more cells the first ones are drawn; the numbers beside the figure hold all."""


def compare_data(found: SweepComparison) -> pd.DataFrame:
    """A row for each cell that both sweeps have measured; deltas B - A in percent points of test accuracy."""
    rows = [_row(cell) for cell in found.cells if cell.delta is not None]
    return pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in COLUMN_TYPES.items()}
    )


def plot_compare(data: pd.DataFrame, a: str, b: str) -> Figure:
    """Deltas with their intervals, a row a cell from the top, around the line of no difference; `a` and `b` name the
    sweeps.
    """
    shown = data.head(MAX_ROWS)
    with house_style():
        figure = Figure(figsize=(FULL_WIDTH_IN, 1.0 + 0.2 * max(len(shown), 3)), layout="constrained")
        panel = figure.add_subplot()
        panel.set_xlabel(f"Test accuracy of {shorten(b, 40)} minus {shorten(a, 40)} (points)")
        if shown.empty:
            say_empty(panel)
            return settle(figure)
        _draw(panel, shown)
        kinds = [kind for kind in VERDICTS if (shown["verdict"] == kind).any()]
        figure.legend(handles=[_handle(kind) for kind in kinds], loc="outside upper left", ncols=len(kinds))
        return settle(figure)


def _row(cell: ComparedCell) -> dict[str, object]:
    assert cell.delta is not None
    estimate = cell.delta.estimate
    verdict = "not shown" if not cell.delta.is_significant else "better" if estimate.value > 0.0 else "worse"
    return {
        "cell": cell.pair.label,
        "verdict": verdict,
        "delta_points": 100.0 * estimate.value,
        "low_points": None if estimate.low is None else 100.0 * estimate.low,
        "high_points": None if estimate.high is None else 100.0 * estimate.high,
        "holm_p": cell.delta.holm_p,
        "num_seeds_a": cell.pair.a.num_seeds,
        "num_seeds_b": cell.pair.b.num_seeds,
        "method": estimate.method,
        "is_paired": estimate.is_paired,
        "changes": "; ".join(cell.pair.changes),
    }


def _draw(panel: Axes, shown: pd.DataFrame) -> None:
    panel.axvline(0.0, color=MUTED, lw=0.8, zorder=1)
    panel.grid(visible=True, axis="x")
    panel.grid(visible=False, axis="y")
    for place, (_, row) in enumerate(shown.iterrows()):
        color, marker = VERDICTS[row["verdict"]]
        if pd.notna(row["low_points"]):
            panel.hlines(place, row["low_points"], row["high_points"], color=color, lw=1.2, zorder=2)
        panel.plot([row["delta_points"]], [place], marker, color=color, ms=4.6, zorder=3)
    panel.set_yticks(range(len(shown)), [shorten(text, 48) for text in shown["cell"]])
    panel.set_ylim(len(shown) - 0.4, -0.6)


def _handle(kind: str) -> Line2D:
    color, marker = VERDICTS[kind]
    name = {"not shown": "no difference shown"}.get(kind, f"{kind} (Holm-corrected p < 0.05)")
    return Line2D([], [], color=color, marker=marker, lw=1.2, ms=4.6, label=name)
