"""A results root and a sweep's name in; tidy frames out: a row a trial, a row an epoch, a row a cell.

A frame carries in `attrs` what belongs to no row: the sweep's name, question and axes, the parts of each curve's name,
and notices about files that could not be read. A missing number is NaN or NA, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.record import State, SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.views.curves import value_text
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
    "wall_time_s": "float64",
    "train_time_s": "float64",
    "peak_memory_mib": "float64",
    "num_attempts": "Int64",
    "diverged": "string",
    "error": "string",
    "failure": "string",
    "micro_batch_size": "Int64",
    "deviations": "string",
    "protocol": "Int64",
    "code_fingerprint": "string",
    "data_fingerprint": "string",
    "device": "string",
    "host": "string",
    "executor": "string",
    "git_commit": "string",
    "git_dirty": "boolean",
    "versions": "string",
    "command": "string",
}
"""The columns of `read_table` besides the axes, with their pandas types."""

EPOCH_TYPES: Mapping[str, str] = {
    **{name: COLUMN_TYPES[name] for name in (*FIRST_COLUMNS, *MODEL_FIELDS)},
    "epoch": "Int64",
    **dict.fromkeys(("train_loss", "val_loss", "val_acc", "lr", "wall_time_s"), "float64"),
}
"""The columns of `read_epochs` besides the axes, with their pandas types."""

CELL_TYPES: Mapping[str, str] = {
    **{name: COLUMN_TYPES[name] for name in ("cell_id", "label", "curve", *MODEL_FIELDS)},
    **dict.fromkeys(("num_params", "flops", "num_trials", "n", "protocol"), "Int64"),
    **{f"{split}_acc{part}": "float64" for split in ("test", "val") for part in ("", "_sd", "_low", "_high")},
    **dict.fromkeys(("num_diverged", "num_failed", "num_missing", "num_other_protocol", "num_deviating"), "Int64"),
    **dict.fromkeys(("is_mixed_code", "is_mixed_device"), "bool"),
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
    rows = open_sweep(results, sweep)
    return _frame(rows.trials(), COLUMN_TYPES, rows)


def read_epochs(results: str | Path | ResultsDir, sweep: str) -> pd.DataFrame:
    """One row for each finished epoch of each trial of the sweep; columns are the axes and `EPOCH_TYPES`.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    rows = open_sweep(results, sweep)
    return _frame(rows.epochs(), EPOCH_TYPES, rows)


def summarize_cells(table: pd.DataFrame, replicates: Mapping[str, Replicates] | None = None) -> pd.DataFrame:
    """One row for each cell of a `read_table` frame, in order of first appearance: the axes and `CELL_TYPES`.

    `n` trials stand behind the means: COMPLETE, measured on test, and of the newest protocol among the cell's. `low`
    and `high` are the ends of a 95 % interval, missing for n = 1: of the test accuracy over seeds and test images both
    where `replicates` (by `cell_id`) know the answers by image, and `method` says so; Student's over seeds elsewhere.
    `num_missing` counts trials that wait, run or were pruned.
    """
    axes = [axis for axis in table.attrs["axes"] if axis in table.columns]
    known = replicates or {}
    rows = [_cell_row(trials, axes, known.get(str(cell))) for cell, trials in table.groupby("cell_id", sort=False)]
    extra = {axis: table[axis].dtype for axis in axes if axis not in CELL_TYPES}
    types = {"cell_id": "string", "label": "string", "curve": "string", **extra, **CELL_TYPES}
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=dtype) for name, dtype in types.items()}
    cells = pd.DataFrame(columns)
    cells.attrs = dict(table.attrs)
    return cells


def averaged_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of one cell that its means hold: COMPLETE, measured on test, and of the newest protocol among these."""
    complete = trials[(trials["state"] == State.COMPLETE) & trials["test_acc"].notna()]
    return complete[complete["protocol"] == complete["protocol"].max()]


def _cell_row(trials: pd.DataFrame, axes: list[str], replicates: Replicates | None) -> dict[str, Any]:
    averaged = averaged_trials(trials)
    states = trials["state"]
    num_complete = int((states == State.COMPLETE).sum())
    num_diverged, num_failed = int((states == State.DIVERGED).sum()), int((states == State.FAIL).sum())
    same = [*axes, "cell_id", "label", "curve", *MODEL_FIELDS, "num_params", "flops"]
    return {
        **{name: _first_known(trials[name]) for name in same},
        "num_trials": len(trials),
        "n": len(averaged),
        "protocol": _first_known(averaged["protocol"]),
        **_estimate("test_acc", averaged["test_acc"]),
        **_two_way(replicates),
        **_estimate("val_acc", averaged["val_acc"]),
        "num_diverged": num_diverged,
        "num_failed": num_failed,
        "num_missing": len(trials) - num_complete - num_diverged - num_failed,
        "num_other_protocol": num_complete - len(averaged),
        "num_deviating": int(averaged["deviations"].notna().sum()),
        "is_mixed_code": averaged["code_fingerprint"].nunique() > 1,
        "is_mixed_device": averaged["device"].nunique() > 1,
        "method": _method(averaged, replicates),
    }


def _estimate(name: str, values: pd.Series) -> dict[str, float | None]:
    known = values.dropna()
    if known.empty:
        return {}
    found = mean_interval(known)
    return {name: found.mean, f"{name}_sd": found.sd, f"{name}_low": found.low, f"{name}_high": found.high}


def _two_way(replicates: Replicates | None) -> dict[str, float | None]:
    """The interval over seeds and images, in place of that over seeds alone."""
    if replicates is None or replicates.num_images is None:
        return {}
    found = mean_accuracy(replicates)
    return {"test_acc_low": found.low, "test_acc_high": found.high}


def _method(averaged: pd.DataFrame, replicates: Replicates | None) -> str | None:
    if averaged.empty:
        return None
    return "seeds only" if replicates is None or replicates.num_images is None else "seed x image"


def _first_known(values: pd.Series) -> Any:
    known = values.dropna()
    return None if known.empty else known.iloc[0]


def _frame(rows: list[dict[str, Any]], types: Mapping[str, str], source: TrialRows) -> pd.DataFrame:
    index: SweepIndex = source.index
    axes = [axis for axis in index.axes if axis not in types]
    columns = {name: pd.Series([row.get(name) for row in rows], dtype=dtype) for name, dtype in types.items()}
    columns |= {axis: _axis_series([row.get(axis) for row in rows]) for axis in axes}
    frame = pd.DataFrame(columns)[[*FIRST_COLUMNS, *axes, *(name for name in types if name not in FIRST_COLUMNS)]]
    frame.attrs = {
        "sweep": index.name,
        "question": index.question,
        "axes": list(index.axes),
        "num_pending": index.num_pending,
        "curves": {name.curve: dict(name.parts) for name in source.names()},
        "notices": list(source.notices),
    }
    return frame


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
