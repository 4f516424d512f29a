"""Two sweeps in; their cells out, paired by the values of the scientific axes, and what else differs in a pair.

An axis that only one sweep names is looked up in the other's configuration, so a sweep over three widths pairs with
one that had the middle width fixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.results import ResultsDir
from orchestrator.views.curves import field_name, value_text
from orchestrator.views.predictions import read_replicates
from orchestrator.views.stats import Replicates
from orchestrator.views.table import averaged_trials, read_table

SECTIONS = ("model", "data", "train")
NOT_FOUND = object()


@dataclass(frozen=True, eq=False)
class SweepCell:
    """One cell of one sweep, with what is known of it."""

    cell_id: str
    axes: Mapping[str, Any]
    config: Mapping[str, Any]
    """`section.field` to value, for every hashed field; empty where no trial of the cell has started."""
    protocols: frozenset[int]
    code: frozenset[str]
    """Code fingerprints of the averaged trials."""
    data: frozenset[str]
    """Data fingerprints of the averaged trials."""
    trial_ids: frozenset[str]
    """Of the averaged trials."""
    replicates: Replicates | None
    """None where nothing has finished."""
    num_trials: int
    num_diverged: int

    @property
    def num_seeds(self) -> int:
        return 0 if self.replicates is None else self.replicates.num_seeds

    def value(self, axis: str) -> Any:
        """Of this axis, or of the field of that name; `NOT_FOUND` where neither is known."""
        if axis in self.axes:
            return self.axes[axis]
        names = [axis] if "." in axis else [f"{section}.{axis}" for section in SECTIONS]
        return next((self.config[name] for name in names if name in self.config), None if self.config else NOT_FOUND)


@dataclass(frozen=True, eq=False)
class SweepSide:
    """One of the two sweeps."""

    results: ResultsDir
    name: str
    table: pd.DataFrame
    cells: tuple[SweepCell, ...]

    @property
    def num_trials(self) -> int:
        return len(self.table)

    @property
    def num_ended(self) -> int:
        """Trials that are COMPLETE or DIVERGED."""
        return int(self.table["state"].isin(["COMPLETE", "DIVERGED"]).sum())


@dataclass(frozen=True, eq=False)
class CellPair:
    """A cell that both sweeps have."""

    axes: Mapping[str, Any]
    """The values of all axes of both sweeps."""
    a: SweepCell
    b: SweepCell
    changes: tuple[str, ...]
    """What differs beside the numbers: `config: train.lr 0.001 -> 0.002`, `code: ...`, `data: ...`."""

    @property
    def label(self) -> str:
        return name_cell(self.axes)


@dataclass(frozen=True, eq=False)
class Pairing:
    """Which cells the two sweeps share."""

    shared: tuple[CellPair, ...]
    only_a: tuple[SweepCell, ...]
    only_b: tuple[SweepCell, ...]


def read_side(results: ResultsDir, name: str) -> SweepSide:
    """All that is compared of one sweep.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    table = read_table(results, name)
    axes = {member.cell_id: member.axes for member in results.sweep(name).read_index().members}
    groups = table.groupby("cell_id", sort=False)
    cells = tuple(_read_cell(results, str(cell_id), axes[str(cell_id)], trials) for cell_id, trials in groups)
    return SweepSide(results, name, table, cells)


def pair_cells(a: SweepSide, b: SweepSide) -> Pairing:
    """Cells with equal values on the axes of both sweeps, in the order of `a`."""
    names = list(dict.fromkeys(axis for side in (a, b) for cell in side.cells for axis in cell.axes))
    others = {_key(cell, names): cell for cell in b.cells}
    shared, only_a = [], []
    for cell in a.cells:
        other = others.pop(_key(cell, names), None)
        if other is None:
            only_a.append(cell)
        else:
            axes = {axis: cell.value(axis) for axis in names if cell.value(axis) is not NOT_FOUND}
            shared.append(CellPair(axes, cell, other, find_changes(cell, other, names)))
    return Pairing(tuple(shared), tuple(only_a), tuple(others.values()))


def find_changes(a: SweepCell, b: SweepCell, axes: list[str]) -> tuple[str, ...]:
    """What differs between two cells of one place in the grid: configuration, code, data."""
    told = {field_name(axis) for axis in axes}
    changes = []
    for name in sorted({*a.config, *b.config}) if a.config and b.config else ():
        old, new = a.config.get(name), b.config.get(name)
        if field_name(name) not in told and old != new:
            changes.append(f"config: {name} {value_text(old)} -> {value_text(new)}")
    for what, old_set, new_set in (
        ("code: protocol", a.protocols, b.protocols),
        ("code: fingerprint", a.code, b.code),
        ("data: fingerprint", a.data, b.data),
    ):
        if old_set and new_set and old_set != new_set:
            changes.append(f"{what} {_names(old_set)} -> {_names(new_set)}")
    return tuple(changes)


def name_cell(axes: Mapping[str, Any]) -> str:
    """`depth 12, self, embed_dim 48`; an axis that does not apply is left out."""
    known = {field_name(axis): value_text(value) for axis, value in axes.items() if value is not None}
    return ", ".join(
        text.rpartition(":")[2] if name == "attention" else f"{name} {text}" for name, text in known.items()
    )


def _read_cell(results: ResultsDir, cell_id: str, axes: Mapping[str, Any], trials: pd.DataFrame) -> SweepCell:
    averaged = averaged_trials(trials)
    return SweepCell(
        cell_id=cell_id,
        axes=axes,
        config=_read_config(results, trials),
        protocols=frozenset(int(value) for value in averaged["protocol"].dropna()),
        code=frozenset(str(value) for value in averaged["code_fingerprint"].dropna()),
        data=frozenset(str(value) for value in averaged["data_fingerprint"].dropna()),
        trial_ids=frozenset(str(value) for value in averaged["trial_id"]),
        replicates=read_replicates(results, trials),
        num_trials=len(trials),
        num_diverged=int((trials["state"] == "DIVERGED").sum()),
    )


def _read_config(results: ResultsDir, trials: pd.DataFrame) -> dict[str, Any]:
    """Of the first trial that has started: replicates differ in nothing but their seed."""
    for trial_id in trials["trial_id"]:
        content = results.trial(str(trial_id)).read_trial()
        if content is not None:
            sections = {name: content.get(name) for name in SECTIONS}
            known = {name: section for name, section in sections.items() if isinstance(section, dict)}
            return {f"{name}.{field}": value for name, section in known.items() for field, value in section.items()}
    return {}


def _key(cell: SweepCell, axes: list[str]) -> str:
    return json.dumps([_plain(cell.value(axis)) for axis in axes], sort_keys=True)


def _plain(value: Any) -> Any:
    """The value such that 1 and 1.0 are one number."""
    if value is NOT_FOUND:
        return {"not": "found"}
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _names(values: frozenset[Any]) -> str:
    return ", ".join(sorted(str(value)[:12] for value in values))
