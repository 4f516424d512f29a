"""Cells in; what their size buys out: accuracy against the width, and against depth among cells of equal size."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from orchestrator.views.curve_choice import curves_of_a_figure
from orchestrator.views.curves import Shared, field_name, value_text
from orchestrator.views.figure_data import THIS_SWEEP, Curves, choose_drawn, methods_of
from orchestrator.views.plots_axes import short_count

Cell = Mapping[Hashable, Any]
"""A row of `summarize_cells`."""

TOLERANCE = 0.02
"""Cells whose sizes differ by at most this share count as equal."""


def curves_along(frame: pd.DataFrame, x: str) -> tuple[pd.Series, Curves]:
    """For each row the curve it lies on when `x` is horizontal: every other axis of the sweep, depth among them."""
    axes = [axis for axis in frame.attrs["axes"] if axis in frame.columns and field_name(axis) != x]
    rows = frame[axes].to_dict("records") if axes else [{}] * len(frame)
    parts_of = [{axis: _text(axis, row[axis]) for axis in axes if pd.notna(row[axis])} for row in rows]
    labels = [", ".join(parts.values()) or "all cells" for parts in parts_of]
    curves = Curves(x, {label: label for label in labels}, dict(zip(labels, parts_of, strict=True)))
    return pd.Series(labels, index=frame.index, dtype="string"), curves


def accuracy_vs_embed_dim_data(cells: pd.DataFrame) -> pd.DataFrame:
    """Rows of kind `mean`, one a cell that has a mean, against the embedding dimension; none where it does not vary."""
    measured = cells[cells["n"] > 0]
    if measured["embed_dim"].nunique() < 2:
        measured = measured.iloc[:0]
    labels, found = curves_along(measured, "embed_dim")
    curves, left_out = choose_drawn(found)
    drawn = measured[labels.isin(list(curves.label))]
    rows = [
        {**_row(cell, label), "embed_dim": cell["embed_dim"]}
        for cell, label in zip(drawn.to_dict("records"), labels[drawn.index], strict=True)
    ]
    return _frame(rows, "embed_dim", curves.parts, left_out=left_out)


def equal_size_data(cells: pd.DataFrame, count: str) -> pd.DataFrame:
    """Rows of kind `mean` against depth, a curve for each attention and class of equal size; classes with one depth are
    left out, so the frame is empty where no two depths are equally large.

    Args:
        count: `num_params` or `flops`.
    """
    measured = cells[(cells["n"] > 0) & cells[count].notna()].sort_values(count, kind="stable")
    found: dict[str, tuple[dict[str, str], list[Cell]]] = {}
    for size, members in _equally_large(measured, count):
        for attention in dict.fromkeys(str(cell["attention"]) for cell in members):
            same = [cell for cell in members if str(cell["attention"]) == attention]
            if len({cell["depth"] for cell in same}) < 2:
                continue
            texts = {"attention": attention.rpartition(":")[2], count: f"{short_count(size)} {UNITS[count]}"}
            found[", ".join(texts.values())] = (texts, same)
    shown = curves_of_a_figure({label: texts for label, (texts, _) in found.items()})
    told = f"Only {len(shown)} of {len(found)} classes of equal size are drawn, the smallest first."
    left_out = [told] if len(shown) < len(found) else []
    rows = [
        {**_row(cell, label), "depth": cell["depth"], "embed_dim": cell["embed_dim"], count: cell[count]}
        for label in shown
        for cell in found[label][1]
    ]
    parts = {label: found[label][0] for label in shown}
    return _frame(rows, "depth", parts, "embed_dim", count, left_out=left_out)


def _equally_large(measured: pd.DataFrame, count: str) -> list[tuple[float, list[Cell]]]:
    """Cells in the order of `count`, in classes that begin at a size and reach `TOLERANCE` beyond it."""
    classes: list[tuple[float, list[Cell]]] = []
    for cell in measured.to_dict("records"):
        if not classes or float(cell[count]) > classes[-1][0] * (1.0 + TOLERANCE):
            classes.append((float(cell[count]), []))
        classes[-1][1].append(cell)
    return classes


UNITS: Mapping[str, str] = {"num_params": "parameters", "flops": "FLOPs"}


def _row(cell: Cell, curve: str) -> dict[str, Any]:
    return {
        "source": THIS_SWEEP,
        "kind": "mean",
        "curve": curve,
        "n": cell["n"],
        "acc_percent": cell["test_acc"] * 100.0,
        "low_percent": cell["test_acc_low"] * 100.0,
        "high_percent": cell["test_acc_high"] * 100.0,
        "method": cell["method"],
    }


def _frame(
    rows: list[dict[str, Any]], x: str, parts: Mapping[str, Mapping[str, str]], *more: str, left_out: list[str]
) -> pd.DataFrame:
    names = ["source", "kind", "curve", x, *more, "n", "acc_percent", "low_percent", "high_percent"]
    whole = {"n", "depth", "embed_dim", "num_params", "flops"}
    kinds = {n: "Int64" if n in whole else "float64" if n.endswith("_percent") else "string" for n in names}
    data = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=kinds[name]) for name in names})
    drawn = [str(curve) for curve in dict.fromkeys(data["curve"])]
    kept = Shared({curve: parts[curve] for curve in drawn})
    data.attrs = {"x": x, "parts": kept, "methods": methods_of(rows), "left_out": left_out}
    return data


def _text(axis: str, value: Any) -> str:
    text = f"{value:.12g}" if isinstance(value, float) else value_text(value)
    return text.rpartition(":")[2] if field_name(axis) == "attention" else f"{field_name(axis)} {text}"
