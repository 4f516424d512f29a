"""A spec in; its cells and trials out, pure and ordered: the axes multiply, the first one slowest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.cell_values import ParamCount, TrialFactory, resolve_values
from orchestrator.combinations import NO_ROW, Combination, Combinations
from orchestrator.cost import num_params
from orchestrator.errors import SpecError, SpecProblem
from orchestrator.spec import MatchParams, SweepSpec
from orchestrator.trial import Cell, Trial


@dataclass(frozen=True)
class Grid:
    """What a spec asks for, cell by cell."""

    axes: tuple[str, ...]
    """Names of the scientific axes in the order of the spec."""
    cells: tuple[Cell, ...]
    warnings: tuple[str, ...] = ()
    """What is probably not meant, each with file:line:column."""
    num_excluded: int = 0
    """Cells that `exclude:` removed."""
    num_collapsed: int = 0
    """Combinations that are the same cell as an earlier one."""

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials of all cells in order; every cell has every seed."""
        return tuple(trial for cell in self.cells for trial in cell.trials)


def expand(spec: SweepSpec) -> tuple[Trial, ...]:
    """The trials of `spec` in order.

    Raises:
        SpecError: as `expand_grid`.
    """
    return expand_grid(spec).trials


def expand_grid(spec: SweepSpec, count_params: ParamCount = num_params) -> Grid:
    """The cells of `spec`, with what was excluded and what collapsed.

    Args:
        count_params: counts the parameters of a trial for `match_params`; the default knows the catalog's attentions.

    Raises:
        SpecError: the grid is empty, or a cell cannot be built.
    """
    combinations = Combinations(spec)
    factory = TrialFactory(count_params)
    ordered = sorted(combinations, key=lambda combination: combination.rows)
    cells: dict[str, Cell] = {}
    num_excluded = num_collapsed = 0
    for combination in ordered:
        values = resolve_values(spec, combination.assigned)
        if isinstance(values["embed_dim"], MatchParams):
            values["embed_dim"] = factory.matched_width(values)
        if any(all(values[name] in allowed for name, allowed in rule.items()) for rule in spec.exclude):
            num_excluded += 1
            continue
        trials = tuple(factory.trial(values, seed) for seed in spec.seeds)
        cell = Cell(trials[0].cell_id, _axes_of(combinations, combination, values), trials)
        if cell.cell_id in cells:
            num_collapsed += 1
        else:
            cells[cell.cell_id] = cell
    if not cells:
        raise SpecError(spec.source_path, [SpecProblem("no cell is left after exclude:", 1, 1)], spec.source_text)
    return Grid(spec.axis_names, tuple(cells.values()), (), num_excluded, num_collapsed)


def _axes_of(combinations: Combinations, combination: Combination, values: Mapping[str, Any]) -> dict[str, Any]:
    """Axis to resolved value; None where the axis does not apply."""
    found: dict[str, Any] = {}
    for unit, row in zip(combinations.units, combination.rows, strict=True):
        found.update((name, None if row == NO_ROW else values[name]) for name in unit.names)
    return found


def count_trials(spec: SweepSpec) -> int:
    """At most how many trials `spec` has; nothing is built."""
    return len(expand(spec))
