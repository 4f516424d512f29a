"""Cells and trials in; what they say in words out: how far the sweep is, its best cells, what to be careful about."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from orchestrator.record import State
from orchestrator.views.curves import field_name

MAX_NAMED = 5
"""Of more things than this, the first ones are named and the others counted."""

FEW_SEEDS = 6
"""Below this many seeds no two-sided sign-flip test can reach p = 0.05: 2 / 2^5 = 0.0625."""


def say_progress(table: pd.DataFrame) -> str:
    """How many trials of the sweep have finished, and what became of the others."""
    pending = int(table.attrs.get("num_pending", 0))
    total, counts = len(table) + pending, table["state"].value_counts()
    finished = int(counts.get(State.COMPLETE, 0))
    if finished == total and total > 0:
        return f"Complete: {finished} of {total} trials finished."
    words = {
        State.DIVERGED: "diverged",
        State.FAIL: "failed",
        State.PRUNED: "pruned",
        State.RUNNING: "running",
        State.WAITING: "waiting",
    }
    others = [f"{counts[state]} {word}" for state, word in words.items() if counts.get(state, 0) > 0]
    others += [f"{pending} of cells that are still searched"] * (pending > 0)
    start = f"Not complete: {finished} of {total} trials finished"
    return f"{start} ({', '.join(others)})." if others else f"{start}."


def say_best(cells: pd.DataFrame) -> list[str]:
    """For each attention its best cell: chosen on validation images where there are any, so its test accuracy is no
    winner's.
    """
    measured = cells[cells["n"] > 0]
    by = "val_acc" if measured["val_acc"].notna().all() else "test_acc"
    sentences = []
    for attention, group in measured.groupby("attention", sort=False):
        best = group.loc[group[by].idxmax()]
        name = str(attention).rpartition(":")[2]
        how = "validation" if by == "val_acc" else "test"
        chosen = f"Best cell with {name}, chosen by {how} accuracy: {quote(str(best['label']))}"
        sentences.append(f"{chosen}, test accuracy {say_estimate(best)}.")
    if by == "test_acc" and sentences:
        sentences.append("Without a validation split the best cell is chosen on test images, which flatters it.")
    return sentences


def say_estimate(cell: pd.Series) -> str:
    """`95.37 % (95 % interval 93.16 to 97.57, n = 3 seeds)`."""
    mean = f"{percent(cell['test_acc'])} %"
    if pd.isna(cell["test_acc_low"]):
        return f"{mean} (one seed, no interval)"
    low, high = percent(cell["test_acc_low"]), percent(cell["test_acc_high"])
    return f"{mean} (95 % interval {low} to {high}, n = {cell['n']} seeds)"


def find_caveats(cells: pd.DataFrame, table: pd.DataFrame, notices: Sequence[str] = ()) -> list[str]:
    """What a reader should know before believing the means; each a sentence or two."""
    averaged = table[table["state"] == State.COMPLETE]
    found = [
        *_few_seeds(cells),
        *_survivors(cells),
        *_mixed(cells, averaged),
        *_packed(cells, averaged),
        *_at_the_edge(cells),
        *(f"Damaged: {notice}." for notice in notices),
    ]
    dirty = int(averaged["git_dirty"].fillna(False).sum())
    if dirty:
        found.append(
            f"{dirty} of {len(averaged)} finished trials were trained from a working tree with uncommitted changes; "
            "the commit alone does not name their code."
        )
    return found


def percent(share: float) -> str:
    """A share as percent with two decimals, without the sign.

    >>> percent(0.95371)
    '95.37'
    """
    return f"{share * 100.0:.2f}"


def quote(text: str) -> str:
    """The text in double quotation marks."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{text}\N{RIGHT DOUBLE QUOTATION MARK}"


def name_some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - MAX_NAMED
    return "; ".join(names[:MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _few_seeds(cells: pd.DataFrame) -> list[str]:
    counts = cells.loc[cells["n"] > 0, "n"]
    if counts.empty or counts.min() >= FEW_SEEDS:
        return []
    found, singles = [], int((counts == 1).sum())
    if singles:
        found.append(
            f"{singles} of {len(counts)} cells have a single seed: no interval, no way to tell them from luck."
        )
    fewest = int(counts.min())
    if fewest > 1:
        found.append(
            f"Few seeds (n = {fewest}): no sign-flip test can go below p = {2.0 / 2**fewest:.3g}, and no interval of a "
            f"knee or an asymptote is given; {FEW_SEEDS} seeds would do for both."
        )
    return found


def _survivors(cells: pd.DataFrame) -> list[str]:
    lost = cells[(cells["num_diverged"] > 0) & (cells["n"] > 0)]
    if lost.empty:
        return []
    names = [f"{quote(str(cell['label']))} ({cell['n']} of {cell['num_trials']})" for _, cell in lost.iterrows()]
    return [f"Means hold only the seeds that did not diverge, which flatters these cells: {name_some(names)}."]


def _mixed(cells: pd.DataFrame, averaged: pd.DataFrame) -> list[str]:
    found = []
    for column, flag, what in (
        ("code_fingerprint", "is_mixed_code", "versions of the code or of torch and timm"),
        ("device", "is_mixed_device", "kinds of device"),
    ):
        inside = [quote(str(label)) for label in cells.loc[cells[flag], "label"]]
        if inside:
            found.append(f"Means over different {what}: {name_some(inside)}.")
        elif averaged[column].nunique() > 1:
            found.append(
                f"Cells differ in more than their axes: {averaged[column].nunique()} {what} stand in this sweep."
            )
    if averaged["protocol"].nunique() > 1:
        versions = ", ".join(str(version) for version in sorted(averaged["protocol"].dropna().unique()))
        found.append(f"Trials of protocols {versions} stand side by side; a mean holds only its cell's newest.")
    if averaged["data_fingerprint"].nunique() > 1 and cells["cell_id"].nunique() > 0:
        found.append(f"Trials saw {averaged['data_fingerprint'].nunique()} different contents of their datasets.")
    return found


def _packed(cells: pd.DataFrame, averaged: pd.DataFrame) -> list[str]:
    """Where seeds were trained in one pass, and what that says of their numbers and times."""
    packed = int((averaged["num_packed"] > 1).fillna(False).sum())
    if not packed:
        return []
    inside = [quote(str(label)) for label in cells.loc[cells["is_mixed_packing"], "label"]]
    mixed = f"Means over seeds trained in one pass and seeds trained alone, apart by rounding: {name_some(inside)}."
    times = (
        f"The times of {packed} of {len(averaged)} finished trials are those of all seeds that were trained in one "
        "pass with them; nothing here compares them with times of a trial alone."
    )
    return [*([mixed] if inside else []), times]


def _at_the_edge(cells: pd.DataFrame) -> list[str]:
    measured = cells.loc[(cells["n"] > 0) & cells["val_acc"].notna(), ["curve", "depth", "val_acc"]]
    names: dict[int, list[str]] = {}
    for curve, group in measured.groupby("curve", sort=False):
        depths = group["depth"].dropna()
        deepest = group.loc[group["val_acc"].idxmax(), "depth"]
        if depths.nunique() > 1 and deepest == depths.max():
            names.setdefault(int(deepest), []).append(str(curve) or "all cells")
    return [
        f"The best depth, {deepest} blocks, is the deepest that has finished; deeper may be better: {name_some(found)}."
        for deepest, found in names.items()
    ]


def axis_heading(axis: str) -> str:
    """An axis as the heading of a column."""
    return field_name(axis).replace("_", " ")
