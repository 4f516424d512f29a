"""Cells, trials and epochs in; for each figure the frame of exactly the numbers it draws out.

A plot reads nothing else, and the same frame is saved beside it. A number that is missing has no row.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.record import State
from orchestrator.views.curve_choice import MAX_DRAWN_CURVES, choose_curves, curves_of_a_figure, say_choice
from orchestrator.views.curves import Shared, field_name
from orchestrator.views.published import DEEPVIT_CURVE
from orchestrator.views.table import averaged_rows

THIS_SWEEP = "this sweep"
PUBLISHED = "published, ImageNet-1k"
MAX_LEARNING_CURVES = 12
"""Of more curves only some are drawn."""
FEW_LEARNING_CURVES = 6
"""At most so many learning curves are drawn where there are more curves than `MAX_DRAWN_CURVES`."""
Trial = Mapping[Hashable, Any]
"""A row of `read_table`."""
READ_FOR_SEEDS = ("curve", "cell_id", "trial_id", "seed", "state", "protocol", "test_acc")
MAX_SEED_LINES = 240
"""With more trials a cell that has a mean is drawn as its mean alone, which keeps the file small."""


@dataclass(frozen=True)
class Curves:
    """What the horizontal axis is, and which curve each cell lies on once that axis is taken out of its name."""

    x: str
    """A column of the frame: `depth`, or the first numeric axis that varies where depth does not."""
    label: Mapping[str, str]
    """Name of a curve in the frame to its label in the figure."""
    parts: Mapping[str, Mapping[str, str]]
    """Label in the figure to its parts, axis -> text."""


def find_curves(frame: pd.DataFrame) -> Curves:
    """The curves of a frame of `read_table`, `read_epochs` or `summarize_cells`, in the order of its rows."""
    x = _x_column(frame)
    known: Mapping[str, Mapping[str, str]] = frame.attrs.get("curves", {})
    label, parts = {}, {}
    for curve in dict.fromkeys(frame["curve"]):
        kept = {axis: text for axis, text in known.get(curve, {"curve": curve}).items() if field_name(axis) != x}
        label[curve] = ", ".join(kept.values()) or _only_attention(frame)
        parts[label[curve]] = kept
    return Curves(x, label, Shared(parts))


def choose_drawn(curves: Curves) -> tuple[Curves, list[str]]:
    """The curves that a figure of accuracy draws, and what to say about the others."""
    shown = set(curves_of_a_figure(curves.parts))
    if len(shown) == len(curves.parts):
        return curves, []
    label = {curve: text for curve, text in curves.label.items() if text in shown}
    parts = {text: told for text, told in curves.parts.items() if text in shown}
    return Curves(curves.x, label, Shared(parts)), [f"{say_choice(len(shown), len(curves.parts))} cells.csv has all."]


def accuracy_vs_depth_data(cells: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Rows of kind `mean` (a cell), `seed` (a trial inside a mean of several), `diverged` (a trial without accuracy)
    and `published`; accuracies in percent on test images. Published rows stand there where depth is horizontal.
    """
    curves, left_out = choose_drawn(find_curves(cells))
    table = table[list(dict.fromkeys([*READ_FOR_SEEDS, curves.x]))]
    cells, table = (frame[frame["curve"].isin(list(curves.label))] for frame in (cells, table))
    rows = [_mean_row(cell, curves) for _, cell in cells.iterrows() if cell["n"] > 0]
    for seeds, diverged in _trials_by_cell(table):
        if len(seeds) > 1:
            rows += [_trial_row(trial, curves, "seed") for trial in seeds]
        rows += [_trial_row(trial, curves, "diverged") for trial in diverged]
    if curves.x == "depth":
        rows += [_published_row(point) for point in DEEPVIT_CURVE]
    names = ["source", "kind", "curve", curves.x, "trial_id", "seed", "n", "acc_percent", "low_percent", "high_percent"]
    return _typed(rows, names, curves, left_out)


def accuracy_vs_params_data(cells: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell that has a mean: parameters, depth, and test accuracy in percent with its interval."""
    return _cost_data(cells, "num_params")


def accuracy_vs_flops_data(cells: pd.DataFrame) -> pd.DataFrame:
    """The same with the FLOPs of one image, forward, a multiply-add as 2."""
    return _cost_data(cells, "flops")


def _cost_data(cells: pd.DataFrame, count: str) -> pd.DataFrame:
    curves, left_out = choose_drawn(find_curves(cells))
    cells = cells[cells["curve"].isin(list(curves.label))]
    rows = [
        {**_mean_row(cell, curves), count: cell[count], "depth": cell["depth"]}
        for _, cell in cells.iterrows()
        if cell["n"] > 0
    ]
    names = ["curve", count, curves.x, "n", "acc_percent", "low_percent", "high_percent"]
    return _typed(rows, list(dict.fromkeys([*names[:2], "depth", *names[2:]])), curves, left_out)


def learning_curve_data(epochs: pd.DataFrame) -> pd.DataFrame:
    """Rows of kind `seed` (a trial at an epoch) and `mean` (over the COMPLETE trials of a cell at an epoch, n of them).

    Losses are in nats an image, `val_acc_percent` in percent. `attrs["left_out"]` says in words what is not drawn.
    """
    curves = find_curves(epochs)
    limit = MAX_LEARNING_CURVES if len(curves.parts) <= MAX_DRAWN_CURVES else FEW_LEARNING_CURVES
    shown = choose_curves(curves.parts, limit)
    drawn = epochs[epochs["curve"].isin([curve for curve, label in curves.label.items() if label in shown])]
    drawn = drawn.assign(curve=drawn["curve"].map(curves.label).astype("string"), kind="seed")
    drawn["val_acc_percent"] = drawn["val_acc"] * 100.0
    metrics = ["train_loss", "val_loss", "val_acc_percent"]
    keys = ["curve", curves.x, "cell_id", "epoch"]
    complete = drawn[drawn["state"] == State.COMPLETE]
    grouped = complete.groupby(keys, sort=False, dropna=False)
    means = grouped[metrics].mean().join(grouped.size().rename("n")).reset_index()
    means["kind"] = "mean"
    has_too_many = drawn["trial_id"].nunique() > MAX_SEED_LINES
    if has_too_many:
        drawn = drawn[~drawn["cell_id"].isin(means["cell_id"])]
    names = ["kind", *keys, "trial_id", "seed", "state", "n", *metrics]
    data = pd.concat([means, drawn], ignore_index=True).reindex(columns=names)
    data["n"] = data["n"].astype("Int64")
    told = f"{say_choice(len(shown), len(curves.parts))} epochs.csv has all."
    left_out = [told] if len(shown) < len(curves.parts) else []
    left_out += ["Single seeds are not drawn, because there are too many."] * has_too_many
    data.attrs = {**epochs.attrs, "x": curves.x, "parts": curves.parts, "left_out": left_out}
    return data


def _x_column(frame: pd.DataFrame) -> str:
    candidates = ["depth", *(axis for axis in frame.attrs.get("axes", []) if axis in frame.columns)]
    numeric = [name for name in candidates if frame[name].dtype in ("Int64", "float64")]
    return next((name for name in numeric if frame[name].nunique() > 1), "depth")


def _only_attention(frame: pd.DataFrame) -> str:
    names = frame["attention"].dropna().unique()
    return str(names[0]).rpartition(":")[2] if len(names) == 1 else "all cells"


def _mean_row(cell: pd.Series, curves: Curves) -> dict[str, Any]:
    return {
        "source": THIS_SWEEP,
        "kind": "mean",
        "curve": curves.label[cell["curve"]],
        curves.x: cell[curves.x],
        "n": cell["n"],
        "acc_percent": cell["test_acc"] * 100.0,
        "low_percent": cell["test_acc_low"] * 100.0,
        "high_percent": cell["test_acc_high"] * 100.0,
        "method": cell["method"],
    }


def _trials_by_cell(table: pd.DataFrame) -> list[tuple[list[Trial], list[Trial]]]:
    """Of each cell the trials that its mean holds, and those that diverged, both by seed."""
    found: dict[str, tuple[list[Trial], list[Trial]]] = {cell: ([], []) for cell in dict.fromkeys(table["cell_id"])}
    is_averaged, is_diverged = averaged_rows(table), table["state"] == State.DIVERGED
    for kind, rows in enumerate((is_averaged, is_diverged.fillna(False))):
        for trial in table[rows].sort_values("seed", kind="stable").to_dict("records"):
            found[trial["cell_id"]][kind].append(trial)
    return list(found.values())


def _trial_row(trial: Trial, curves: Curves, kind: str) -> dict[str, Any]:
    return {
        "source": THIS_SWEEP,
        "kind": kind,
        "curve": curves.label[trial["curve"]],
        curves.x: trial[curves.x],
        "trial_id": trial["trial_id"],
        "seed": trial["seed"],
        "acc_percent": trial["test_acc"] * 100.0,
    }


def _published_row(point: Any) -> dict[str, Any]:
    return {
        "source": f"{PUBLISHED}: {point.source}",
        "kind": "published",
        "curve": point.model,
        "depth": point.depth,
        "n": 1,
        "acc_percent": point.top1_percent,
    }


def _typed(rows: list[dict[str, Any]], names: list[str], curves: Curves, left_out: list[str]) -> pd.DataFrame:
    types = {"seed": "Int64", "n": "Int64", "num_params": "Int64", "flops": "Int64", "depth": "Int64"}
    columns = {}
    for name in names:
        kind = types.get(name) or ("float64" if name.endswith("_percent") or name == curves.x else "string")
        columns[name] = pd.Series([row.get(name) for row in rows], dtype=kind)
    data = pd.DataFrame(columns)
    data.attrs = {"x": curves.x, "parts": curves.parts, "methods": methods_of(rows), "left_out": left_out}
    return data


def methods_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """How the intervals of the means were made, each way once."""
    return sorted({str(row["method"]) for row in rows if row.get("method") is not None})
