"""A results root and a sweep's name in; tidy frames out: a row a trial, a row an epoch, a row a cell.

A frame carries in `attrs` what belongs to no row: the sweep's name, question and axes, the parts of each curve's name,
and notices about files that could not be read. A missing number is NaN or NA, never 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.record import State, SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.views.curves import Shared, value_text
from orchestrator.views.seed_rule import POOLED_SEEDS, half_widths
from orchestrator.views.stats import Replicates, mean_accuracy, mean_interval
from orchestrator.views.trial_rows import MODEL_FIELDS, TrialRows, open_sweep

FIRST_COLUMNS = ("trial_id", "cell_id", "label", "curve", "seed", "state")
"""What stands before the axes."""

COLUMN_TYPES: Mapping[str, str] = {
    "trial_id": "string",
    "cell_id": "string",
    "label": "string",
    "curve": "string",
    "seed": "Int64",
    "state": "string",
    "depth": "Int64",
    "attention": "string",
    "embed_dim": "Int64",
    "num_heads": "Int64",
    "num_params": "Int64",
    "flops": "Int64",
    "num_epochs": "Int64",
    "val_acc": "float64",
    "val_loss": "float64",
    "test_acc": "float64",
    "test_loss": "float64",
    "num_test_images": "Int64",
    **dict.fromkeys(("wall_time_s", "train_time_s", "peak_memory_mib"), "float64"),
    **dict.fromkeys(("predicted_time_s", "predicted_memory_mib"), "float64"),
    "is_predicted_roughly": "boolean",
    "num_attempts": "Int64",
    **dict.fromkeys(("diverged", "error", "failure"), "string"),
    **dict.fromkeys(("micro_batch_size", "num_packed"), "Int64"),
    "deviations": "string",
    "protocol": "Int64",
    "code_fingerprint": "string",
    "data_fingerprint": "string",
    **dict.fromkeys(("device", "host", "executor", "git_commit"), "string"),
    "git_dirty": "boolean",
    "versions": "string",
    "command": "string",
}
"""The columns of `read_table` besides the axes, with their pandas types."""

EPOCH_TYPES: Mapping[str, str] = {
    **{name: COLUMN_TYPES[name] for name in (*FIRST_COLUMNS, *MODEL_FIELDS)},
    "epoch": "Int64",
    **dict.fromkeys(("train_loss", "val_loss", "val_acc", "lr", "wall_time_s"), "float64"),
    "num_packed": "Int64",
}
"""The columns of `read_epochs` besides the axes, with their pandas types."""

CELL_TYPES: Mapping[str, str] = {
    **{name: COLUMN_TYPES[name] for name in ("cell_id", "label", "curve", *MODEL_FIELDS)},
    **dict.fromkeys(("num_params", "flops", "num_trials", "n", "protocol"), "Int64"),
    **{f"{split}_acc{part}": "float64" for split in ("test", "val") for part in ("", "_sd", "_low", "_high")},
    **dict.fromkeys(("num_diverged", "num_failed", "num_missing", "num_other_protocol", "num_deviating"), "Int64"),
    **dict.fromkeys(("is_mixed_code", "is_mixed_device", "is_mixed_packing"), "bool"),
    "method": "string",
}
"""The columns of `summarize_cells` besides the axes, with their pandas types."""


def read_table(results: str | Path | ResultsDir, sweep: str) -> pd.DataFrame:
    """One row for each trial of the sweep, in the order of its index; columns are the axes and `COLUMN_TYPES`.

    `num_epochs` of an unfinished trial counts the epochs so far; its accuracies are missing. A record that cannot be
    read leaves its trial WAITING, and `attrs["notices"]` names the file.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    return _trial_frame(open_sweep(results, sweep))


def read_epochs(results: str | Path | ResultsDir, sweep: str) -> pd.DataFrame:
    """One row for each finished epoch of each trial of the sweep; columns are the axes and `EPOCH_TYPES`.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    rows = open_sweep(results, sweep)
    return _epoch_frame(rows, _trial_frame(rows))


@dataclass(frozen=True, eq=False)
class SweepTables:
    """The frames of one sweep, every file read once."""

    trials: pd.DataFrame
    """As `read_table`."""
    epochs: pd.DataFrame
    """As `read_epochs`."""
    test_sets: Mapping[str, str]
    """Trial to the name of what it was tested on, for trials with a record."""


def read_tables(results: str | Path | ResultsDir, sweep: str) -> SweepTables:
    """Both frames of a sweep.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    rows = open_sweep(results, sweep)
    trials = _trial_frame(rows)
    return SweepTables(trials, _epoch_frame(rows, trials), rows.test_sets)


def summarize_cells(table: pd.DataFrame, replicates: Mapping[str, Replicates] | None = None) -> pd.DataFrame:
    """One row for each cell of a `read_table` frame, in order of first appearance: the axes and `CELL_TYPES`.

    `n` trials stand behind the means: COMPLETE, measured on test, and of the newest protocol among the cell's. `low`
    and `high` are the ends of a 95 % interval, missing for n = 1: of the test accuracy over seeds and test images both
    where `replicates` (by `cell_id`) know the answers by image, and `method` says so; Student's over seeds elsewhere.
    Under a rule for the seeds it is the rule's own interval, over seeds with a pooled spread.
    `num_missing` counts trials that wait, run or were pruned.
    """
    axes = [axis for axis in table.attrs["axes"] if axis in table.columns]
    known = replicates or {}
    same = [*axes, "cell_id", "label", "curve", *MODEL_FIELDS, "num_params", "flops"]
    values = {name: plain_values(table[name]) for name in (*same, *READ_FOR_CELLS)}
    is_averaged = averaged_rows(table).tolist()
    places: dict[str, list[int]] = {}
    for place, cell in enumerate(values["cell_id"]):
        places.setdefault(cell, []).append(place)
    rows = []
    for cell, members in places.items():
        averaged = [place for place in members if is_averaged[place]]
        first = {name: _first_known(values[name], members) for name in same}
        rows.append({**first, **_cell_row(values, members, averaged, known.get(cell))})
    if table.attrs.get("seed_rule") is not None:
        _set_pooled(rows, accs_by_cell(table))
    extra = {axis: table[axis].dtype for axis in axes if axis not in CELL_TYPES}
    types = {"cell_id": "string", "label": "string", "curve": "string", **extra, **CELL_TYPES}
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=dtype) for name, dtype in types.items()}
    cells = pd.DataFrame(columns)
    cells.attrs = dict(table.attrs)
    return cells


def accs_by_cell(table: pd.DataFrame) -> dict[str, list[float]]:
    """The test accuracies that each cell's mean holds, by `cell_id`; empty lists for cells without any."""
    found: dict[str, list[float]] = {str(cell): [] for cell in dict.fromkeys(table["cell_id"])}
    averaged = table[averaged_rows(table)]
    for cell, acc in zip(averaged["cell_id"].tolist(), averaged["test_acc"].tolist(), strict=True):
        found[cell].append(float(acc))
    return found


def _set_pooled(rows: list[dict[str, Any]], accs: Mapping[str, Sequence[float]]) -> None:
    """Intervals over seeds with a spread pooled over cells, in place of those of each cell alone."""
    widths = half_widths(accs)
    for row in rows:
        if row["n"] > 0 and math.isfinite(widths[row["cell_id"]]):
            middle, width = float(row["test_acc"]), widths[row["cell_id"]]
            row.update(test_acc_low=middle - width, test_acc_high=middle + width, method=POOLED_SEEDS)


def averaged_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of one cell that its means hold: COMPLETE, measured on test, and of the newest protocol among these."""
    complete = trials[(trials["state"] == State.COMPLETE) & trials["test_acc"].notna()]
    return complete[complete["protocol"] == complete["protocol"].max()]


def averaged_rows(table: pd.DataFrame) -> pd.Series:
    """Of a whole `read_table` frame, whether each row is one that its cell's means hold, as `averaged_trials`."""
    is_complete = (table["state"] == State.COMPLETE).fillna(False) & table["test_acc"].notna()
    newest = table["protocol"].where(is_complete).groupby(table["cell_id"], sort=False).transform("max")
    return is_complete & (table["protocol"] == newest).fillna(False)


def plain_values(column: pd.Series) -> list[Any]:
    """The values of a column as Python's own, None where one is missing; quicker to walk than rows."""
    return [None if is_missing else value for value, is_missing in zip(column.tolist(), column.isna(), strict=True)]


KINDS = ("code_fingerprint", "device", "num_packed")
READ_FOR_CELLS = ("state", "protocol", "test_acc", "val_acc", "deviations", *KINDS)


def _cell_row(
    values: Mapping[str, list[Any]], members: list[int], averaged: list[int], replicates: Replicates | None
) -> dict[str, Any]:
    """What is counted and averaged; `members` and `averaged` are places in the lists of `values`."""
    states = Counter(values["state"][place] for place in members)
    num_complete, num_lost = states[State.COMPLETE], states[State.DIVERGED] + states[State.FAIL]
    kinds = {name: {values[name][place] for place in averaged} - {None} for name in KINDS}
    return {
        "num_trials": len(members),
        "n": len(averaged),
        "protocol": _first_known(values["protocol"], averaged),
        **_estimate("test_acc", [values["test_acc"][place] for place in averaged]),
        **_two_way(replicates),
        **_estimate("val_acc", [values["val_acc"][place] for place in averaged]),
        "num_diverged": states[State.DIVERGED],
        "num_failed": states[State.FAIL],
        "num_missing": len(members) - num_complete - num_lost,
        "num_other_protocol": num_complete - len(averaged),
        "num_deviating": sum(values["deviations"][place] is not None for place in averaged),
        "is_mixed_code": len(kinds["code_fingerprint"]) > 1,
        "is_mixed_device": len(kinds["device"]) > 1,
        "is_mixed_packing": 1 in kinds["num_packed"] and len(kinds["num_packed"]) > 1,
        "method": _method(len(averaged), replicates),
    }


def _estimate(name: str, values: list[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {}
    found = mean_interval(known)
    return {name: found.mean, f"{name}_sd": found.sd, f"{name}_low": found.low, f"{name}_high": found.high}


def _two_way(replicates: Replicates | None) -> dict[str, float | None]:
    """The interval over seeds and images, in place of that over seeds alone."""
    if replicates is None or replicates.num_images is None:
        return {}
    found = mean_accuracy(replicates)
    return {"test_acc_low": found.low, "test_acc_high": found.high}


def _method(num_averaged: int, replicates: Replicates | None) -> str | None:
    if not num_averaged:
        return None
    return "seeds only" if replicates is None or replicates.num_images is None else "seed x image"


def _first_known(values: list[Any], places: list[int]) -> Any:
    return next((values[place] for place in places if values[place] is not None), None)


def _trial_frame(source: TrialRows) -> pd.DataFrame:
    rows, axes = source.trials(), [axis for axis in source.index.axes if axis not in COLUMN_TYPES]
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=dtype) for name, dtype in COLUMN_TYPES.items()}
    columns |= {axis: _axis_series([row.get(axis) for row in rows]) for axis in axes}
    frame = pd.DataFrame(columns)[[*FIRST_COLUMNS, *axes, *(n for n in COLUMN_TYPES if n not in FIRST_COLUMNS)]]
    frame.attrs = _attrs(source)
    return frame


def _epoch_frame(source: TrialRows, trials: pd.DataFrame) -> pd.DataFrame:
    """Rows of `trials`, which is in the order of the index, each repeated for its epochs."""
    places, rows = source.epochs()
    axes = [axis for axis in source.index.axes if axis not in EPOCH_TYPES]
    own = [name for name in EPOCH_TYPES if name not in (*FIRST_COLUMNS, *MODEL_FIELDS)]
    frame = trials[[*FIRST_COLUMNS, *axes, *MODEL_FIELDS]].iloc[places].reset_index(drop=True)
    columns = {name: pd.Series([getattr(row, name) for row in rows], dtype=EPOCH_TYPES[name]) for name in own}
    frame = frame.assign(**columns)
    frame.attrs = _attrs(source)
    return frame


def _attrs(source: TrialRows) -> dict[str, Any]:
    index: SweepIndex = source.index
    return {
        "sweep": index.name,
        "question": index.question,
        "axes": list(index.axes),
        "num_pending": index.num_pending,
        "curves": Shared({name.curve: dict(name.parts) for name in source.names}),
        "notices": list(source.notices),
        "seed_rule": None if index.seed_rule is None else Shared(index.seed_rule),
    }


def _axis_series(values: list[Any]) -> pd.Series:
    """The narrowest type that holds the values of an axis exactly; text where they are of several kinds."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds and kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series([None if value is None else value_text(value) for value in values], dtype="string")
