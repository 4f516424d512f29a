"""A spec in; its cells and trials out, pure and ordered: the axes multiply, the first one slowest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from orchestrator.catalog import ATTENTION_OPTIONS, attention_info
from orchestrator.cost import num_params
from orchestrator.errors import SpecError, SpecProblem, TrainingError
from orchestrator.grids.cell_rules import cell_problems
from orchestrator.grids.cell_values import ParamCount, TrialFactory, Values, resolve_values
from orchestrator.grids.combinations import NO_ROW, Combination, Combinations, combination_path
from orchestrator.grids.counting import Counting
from orchestrator.grids.grid_warnings import GridWarnings
from orchestrator.grids.search_cell import SearchCell
from orchestrator.grids.sweep_spec import MatchParams, SweepSpec
from orchestrator.trial import Cell, Trial

Chosen = Mapping[str, Mapping[str, Any]]
"""Nuisance values by cell_id."""

Found = tuple[tuple[str, ...], str, str]
"""The fields a problem is about, its message, and a hint or nothing."""


@dataclass(frozen=True)
class Grid:
    """What a spec asks for, cell by cell."""

    axes: tuple[str, ...]
    """Names of the scientific axes in the order of the spec."""
    cells: tuple[Cell, ...]
    """A cell whose nuisance values are not chosen yet has no trials."""
    searches: Mapping[str, SearchCell] = field(default_factory=dict)
    """By cell_id, the cells that are searched before they are measured."""
    warnings: tuple[str, ...] = ()
    """What is probably not meant, each with file:line:column."""
    num_excluded: int = 0
    """Cells that `exclude:` removed."""
    num_collapsed: int = 0
    """Combinations that are the same cell as an earlier one."""

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """The measured trials of all cells in order; every cell that is chosen for has every seed."""
        return tuple(trial for cell in self.cells for trial in cell.trials)

    def with_chosen(self, chosen: Chosen, seeds: tuple[int, ...]) -> Grid:
        """The grid with the trials of the searched cells that `chosen` gives nuisance values for, and of no other."""

        def fill(cell: Cell) -> Cell:
            search = self.searches.get(cell.cell_id)
            if search is None:
                return cell
            values = chosen.get(cell.cell_id)
            return replace(cell, trials=() if values is None else tuple(search.trial(values, seed) for seed in seeds))

        return replace(self, cells=tuple(fill(cell) for cell in self.cells))

    def with_num_seeds(self, counts: Mapping[str, int]) -> Grid:
        """The grid whose cells have the seeds 0 to n - 1, n by the `cell_id` of their trials; a cell that `counts`
        lacks stays as it is, and one that is not chosen for has none still.
        """

        def fill(cell: Cell) -> Cell:
            count = counts.get(cell.trials[0].cell_id) if cell.trials else None
            return cell if count is None else replace(cell, trials=tuple(cell.trial(seed) for seed in range(count)))

        return replace(self, cells=tuple(fill(cell) for cell in self.cells))


def expand(spec: SweepSpec, chosen: Chosen | None = None) -> tuple[Trial, ...]:
    """The measured trials of `spec` in order; of a spec with `tune:`, those of the cells that `chosen` names.

    Args:
        chosen: nuisance values by cell_id, as a search chose them.

    Raises:
        SpecError: as `expand_grid`.
    """
    return expand_grid(spec, chosen=chosen).trials


def expand_grid(spec: SweepSpec, count_params: ParamCount = num_params, *, chosen: Chosen | None = None) -> Grid:
    """The cells of `spec`, with what was excluded and what collapsed.

    Args:
        count_params: counts the parameters of a trial for `match_params`; the default knows the catalog's attentions.
        chosen: nuisance values by cell_id; a searched cell that it leaves out has no trials.

    Raises:
        SpecError: the grid is empty, or a cell cannot be built; all problems at once.
    """
    combinations = Combinations(spec)
    expansion = _Expansion(spec, combinations, TrialFactory(count_params), GridWarnings(combinations))
    for combination in combinations:
        expansion.add(combination)
    if not expansion.cells and not expansion.problems:
        line, column = spec.place(("exclude",), key=True)
        expansion.problems[
            SpecProblem("no cell is left", line, column, "exclude: removes every one; remove a rule of it")
        ] = None
    if expansion.problems:
        raise SpecError(spec.source_path, list(expansion.problems), spec.source_text)
    grid = Grid(
        axes=spec.axis_names,
        cells=tuple(cell for _, cell in expansion.cells.values()),
        searches=expansion.searches,
        warnings=(*expansion.warnings.texts(), *expansion.unequal_searches()),
        num_excluded=len(expansion.excluded),
        num_collapsed=expansion.warnings.num_collapsed,
    )
    return grid.with_chosen(chosen or {}, spec.seeds)


def count_trials(spec: SweepSpec) -> int:
    """At most how many trials `spec` has, search trials included; no cell is visited, however many.

    Exclusions and conditions are subtracted, cells that turn out equal are not.
    """
    num_search = 0 if spec.tune is None else spec.tune.num_trials * spec.tune.seeds
    num_seeds = len(spec.seeds) if spec.seed_rule is None else spec.seed_rule.max
    return Counting(Combinations(spec)).count() * (num_seeds + num_search)


@dataclass
class _Expansion:
    """What one walk over the combinations finds."""

    spec: SweepSpec
    combinations: Combinations
    factory: TrialFactory
    warnings: GridWarnings
    cells: dict[tuple[Any, ...], tuple[Combination, Cell]] = field(default_factory=dict)
    searches: dict[str, SearchCell] = field(default_factory=dict)
    excluded: set[tuple[Any, ...]] = field(default_factory=set)
    problems: dict[SpecProblem, None] = field(default_factory=dict)

    def add(self, combination: Combination) -> None:
        values = resolve_values(self.spec, {**self._unchosen(), **combination.assigned})
        problems = [(rule.fields, message, hint) for rule, message, hint in cell_problems(values)]
        if not problems and isinstance(values["embed_dim"], MatchParams):
            problems = self._match_width(values)
        key = tuple(values.values())
        if self.warnings.see_exclusions(values):
            self.excluded.add(key)
        elif problems:
            self._report(combination, problems)
        else:
            self.warnings.see_cell(combination, values)
            if key in self.cells:
                self.warnings.see_equal(self.cells[key][0], combination)
            else:
                self._add_cell(key, combination, values)

    def _match_width(self, values: Values) -> list[Found]:
        try:
            values["embed_dim"] = self.factory.matched_width(values)
        except TrainingError as error:
            return [(("attention",), str(error), "")]
        except ValueError as error:
            return [(("embed_dim",), f"match_params cannot count parameters: {error}", "give the width as a number")]
        return []

    def _add_cell(self, key: tuple[Any, ...], combination: Combination, values: Values) -> None:
        try:
            trials = [self.factory.trial(values, seed) for seed in self.spec.seeds]
        except TrainingError as error:
            self._report(combination, [(("attention",), str(error), "")])
            return
        axes: dict[str, Any] = {}
        for unit, row in zip(self.combinations.units, combination.rows, strict=True):
            axes.update((name, None if row == NO_ROW else values[name]) for name in unit.names)
        search = self._search(trials[0], axes)
        if search is None:
            self.cells[key] = combination, Cell(trials[0].cell_id, axes, tuple(trials))
        else:
            self.searches[search.cell_id] = search
            self.cells[key] = combination, Cell(search.cell_id, axes, ())

    def _unchosen(self) -> Mapping[str, Any]:
        return {} if self.spec.tune is None else self.spec.tune.middles

    def _search(self, trial: Trial, axes: dict[str, Any]) -> SearchCell | None:
        """How the cell of `trial` is searched; None where nothing of it is chosen."""
        if self.spec.tune is None:
            return None
        read = attention_info(trial.model.attention).options
        ranges = tuple(one for one in self.spec.tune.axes if one.name in read or one.name not in ATTENTION_OPTIONS)
        if not ranges:
            return None
        return SearchCell.of(trial, axes, ranges, self.spec.tune.epochs)

    def unequal_searches(self) -> tuple[str, ...]:
        """A warning for each nuisance axis that some cells read and others do not: budgets are not equal then."""
        ranges = () if self.spec.tune is None else self.spec.tune.axes
        told = []
        for one in ranges:
            num_cells = sum(one in search.ranges for search in self.searches.values())
            if num_cells < len(self.cells):
                place = self.spec.describe_place(one.path)
                told.append(
                    f"{place}: {one.name} is chosen in {num_cells} of {len(self.cells)} cells, others do not read it, "
                    "so not every cell is tuned alike"
                )
        return tuple(told)

    def _report(self, combination: Combination, found: list[Found]) -> None:
        for fields, message, hint in found:
            path = combination_path(self.combinations, dict(enumerate(combination.rows)), fields)
            line, column = self.spec.place(path)
            self.problems[SpecProblem(message, line, column, hint or None)] = None
