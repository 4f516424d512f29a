"""A results root and a sweep's name in; the probes of its trials out: a row a (trial, moment, block), or whole arrays.

Trials that were not probed, or whose `probes.npz` cannot be read, have no rows; `attrs["notices"]` names the damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.errors import UsageError
from orchestrator.npz_files import read_npz
from orchestrator.probe_catalog import PROBES
from orchestrator.record import State
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.views.table import COLUMN_TYPES, FIRST_COLUMNS, averaged_trials, read_table
from orchestrator.views.trial_rows import MODEL_FIELDS

Array = NDArray[np.float64]
Moment = Literal["untrained", "final"] | int
"""The untrained network, the final model, or a chosen epoch."""

HEAD_SUMMARIES: Mapping[str, str] = {
    "": "mean over heads",
    ".min": "smallest over heads",
    ".max": "largest over heads",
}
"""Columns that stand for an array with an axis of heads."""


def block_columns() -> dict[str, str]:
    """Columns of `read_probes` that hold measurements, with what each one is; all float64, NaN where not measured.

    An array of numbers a block is a column; one with heads is three; one over pairs of blocks gives its value with the
    block before, `<name>.previous`. What is measured once a moment stands on each of its blocks.
    """
    found: dict[str, str] = {}
    for name, info in PROBES.items():
        if name == "epoch":
            continue
        if info.dims == "LH":
            found |= {f"{name}{end}": f"{info.summary}; {words}" for end, words in HEAD_SUMMARIES.items()}
        elif info.dims == "LL":
            found[f"{name}.previous"] = f"{info.summary}; with the block before"
        else:
            found[name] = info.summary
    return found


def read_probes(results: str | Path | ResultsDir, sweep: str) -> pd.DataFrame:
    """One row for each trial, probed moment and block of the sweep.

    Columns: `FIRST_COLUMNS`, the axes and `MODEL_FIELDS` as in `read_table`, `epoch`, `moment` (untrained, chosen or
    final), `block_idx` from 0, and `block_columns`.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    table = read_table(results, sweep)
    return block_frame(table, read_trial_arrays(results, table))


def block_frame(table: pd.DataFrame, probes: Mapping[str, Mapping[str, Array]]) -> pd.DataFrame:
    """As `read_probes`, of the trials of a `read_table` frame and the arrays that `read_trial_arrays` gives."""
    identity = _identity_columns(table)
    parts = []
    probed = table[table["trial_id"].isin(list(probes))]
    for _, trial in probed.iterrows():
        arrays = probes[str(trial["trial_id"])]
        for index, epoch in enumerate(arrays["epoch"]):
            frame = pd.DataFrame(_block_values(arrays, index))
            place = {"epoch": int(epoch), "moment": _moment_name(trial, int(epoch))}
            parts.append(frame.assign(block_idx=range(len(frame)), **place, **{name: trial[name] for name in identity}))
    columns = [*identity, "epoch", "moment", "block_idx", *block_columns()]
    types = {name: table[name].dtype for name in identity}
    types |= {"epoch": "Int64", "moment": "string", "block_idx": "Int64"} | dict.fromkeys(block_columns(), "float64")
    rows = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    rows = rows.astype(types)
    rows.attrs = dict(table.attrs)
    return rows


def read_trial_arrays(results: str | Path | ResultsDir, table: pd.DataFrame) -> dict[str, Mapping[str, Array]]:
    """`trial_id` to the arrays of its `probes.npz`, each [E,...], for the trials of a `read_table` frame that have any;
    damaged files become notices of the frame.
    """
    return {str(trial["trial_id"]): arrays for trial, arrays in _probed(results, table)}


@dataclass(frozen=True)
class CellProbe:
    """One array of a cell at one moment, averaged over its trials."""

    cell_id: str
    label: str
    curve: str
    axes: Mapping[str, Any]
    depth: int
    num_trials: int
    """Trials behind the mean: COMPLETE, of the newest protocol, and probed at that moment."""
    values: Array
    """Of the shape that `PROBES[name].dims` says; NaN where no trial has a value."""


def read_probe_arrays(
    results: str | Path | ResultsDir, sweep: str, name: str, *, moment: Moment = "final"
) -> list[CellProbe]:
    """Array `name` of every cell with probed trials at `moment`, in the order of the table.

    Raises:
        UsageError: there is no such sweep under the root, or no such array.
        ResultsError: the sweep's index is damaged.
    """
    if name not in PROBES:
        raise UsageError(f"there is no probe {name!r}; there are: {', '.join(PROBES)}")
    table = read_table(results, sweep)
    arrays = {trial["trial_id"]: (trial, found[name], found["epoch"]) for trial, found in _probed(results, table)}
    cells = []
    for cell_id, trials in table.groupby("cell_id", sort=False):
        averaged = [arrays[key] for key in averaged_trials(trials)["trial_id"] if key in arrays]
        values = [_at(trial, stacked, epochs, moment) for trial, stacked, epochs in averaged]
        known = [value for value in values if value is not None]
        if known:
            cells.append(_cell(str(cell_id), trials.iloc[0], table.attrs["axes"], known))
    return cells


def _cell(cell_id: str, row: pd.Series, axes: list[str], known: list[Array]) -> CellProbe:
    count = np.sum([~np.isnan(values) for values in known], axis=0)
    total = np.nansum(known, axis=0)
    mean = np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)
    own_axes = {axis: row[axis] for axis in axes}
    return CellProbe(cell_id, row["label"], row["curve"], own_axes, int(row["depth"]), len(known), mean)


def _at(trial: pd.Series, stacked: Array, epochs: Array, moment: Moment) -> Array | None:
    last = -1 if pd.isna(trial["num_epochs"]) else int(trial["num_epochs"])
    epoch = {"untrained": 0, "final": last}.get(moment, moment) if isinstance(moment, str) else moment
    found = np.flatnonzero(epochs == epoch)
    return stacked[found[0]] if len(found) else None


def _probed(results: str | Path | ResultsDir, table: pd.DataFrame) -> Iterator[tuple[pd.Series, Mapping[str, Array]]]:
    """The trials of the table that have probes, and these; damaged files become notices of the table."""
    opened = results if isinstance(results, ResultsDir) else ResultsDir(Path(results))
    for row, (trial_id, depth) in enumerate(zip(table["trial_id"], table["depth"], strict=True)):
        folder = opened.trial(trial_id)
        if pd.isna(depth) or not folder.probes_file.exists():
            continue
        trial, arrays = table.iloc[row], _read(folder)
        if arrays is None:
            place = folder.probes_file.relative_to(opened.root)
            table.attrs["notices"] = [*table.attrs["notices"], f"{place} is damaged; its probes are left out"]
        else:
            yield trial, arrays


def _read(folder: TrialFolder) -> dict[str, Array] | None:
    try:
        found = read_npz(folder.probes_file.read_bytes())
    except (OSError, ValueError):
        return None
    return found if PROBES.keys() <= found.keys() else None


def _moment_name(trial: pd.Series, epoch: int) -> str:
    if epoch == 0:
        return "untrained"
    is_final = trial["state"] == State.COMPLETE and epoch == trial["num_epochs"]
    return "final" if is_final else "chosen"


def _identity_columns(table: pd.DataFrame) -> list[str]:
    axes = [axis for axis in table.attrs["axes"] if axis not in COLUMN_TYPES]
    return [*FIRST_COLUMNS, *axes, *MODEL_FIELDS]


def _block_values(arrays: Mapping[str, Array], index: int) -> dict[str, Array]:
    """The columns of one moment, [L] each."""
    num_blocks = arrays["token_cosine.raw"].shape[1]
    found: dict[str, Array] = {}
    for name, info in PROBES.items():
        values = arrays[name][index]
        if info.dims == "LH":
            is_known = ~np.isnan(values).all(axis=1)
            for end, over_heads in (("", np.nanmean), (".min", np.nanmin), (".max", np.nanmax)):
                column = np.full(num_blocks, np.nan)
                column[is_known] = over_heads(values[is_known], axis=1)
                found[name + end] = column
        elif info.dims == "LL":
            found[f"{name}.previous"] = np.concatenate([[np.nan], np.diagonal(values, offset=-1)])
        elif name != "epoch":
            found[name] = np.broadcast_to(values, (num_blocks,))
    return found
