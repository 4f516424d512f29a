"""A cell and its nuisance ranges in; the search trials of it, and the trials measured with what was chosen, out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.configs import SECTIONS, section_of
from orchestrator.grids.tune_spec import Range
from orchestrator.trial import Trial


@dataclass(frozen=True)
class SearchCell:
    """One cell that is searched before it is measured."""

    cell_id: str
    """Knows the names of the nuisance axes and none of their values, so it is the same before and after the search."""
    axes: Mapping[str, Any]
    """Scientific axis to value, as in `Cell`."""
    base: Trial
    """A measured trial of the cell, with the middle of every range where a value will be chosen."""
    ranges: tuple[Range, ...]
    """Nuisance axes that apply in this cell: an option of an attention applies where the attention reads it."""
    search_epochs: int | None = None
    """Epochs of its search trials, None for those of the cell."""

    @classmethod
    def of(
        cls, base: Trial, axes: Mapping[str, Any], ranges: tuple[Range, ...], search_epochs: int | None
    ) -> SearchCell:
        cell_id = base.tuned_cell_id([one.name for one in ranges])
        return cls(cell_id, axes, base, ranges, search_epochs)

    def trial(self, values: Mapping[str, Any], seed: int) -> Trial:
        """The trial that is measured with these nuisance values."""
        return with_fields(dataclasses.replace(self.base, seed=seed), values)

    def search_trial(self, values: Mapping[str, Any], seed: int) -> Trial:
        """The trial that tries these nuisance values; a trial as any other, with a seed that no measured one has."""
        trial = self.trial(values, seed)
        return trial if self.search_epochs is None else with_fields(trial, {"epochs": self.search_epochs})


def with_fields(trial: Trial, values: Mapping[str, Any]) -> Trial:
    """The trial with other values of some fields of model, data or train."""
    changes: dict[str, Any] = {}
    for section in SECTIONS:
        own = {name: value for name, value in values.items() if section_of(name) == section}
        if own:
            changes[section] = dataclasses.replace(getattr(trial, section), **own)
    return dataclasses.replace(trial, **changes) if changes else trial
