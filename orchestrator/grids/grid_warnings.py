"""A walk over the cells of a grid in; what is probably not meant, with the places of it, out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.catalog import ATTENTION_OPTIONS
from orchestrator.grids.combinations import NO_ROW, Combination, Combinations, Unit, combination_path, holds
from orchestrator.grids.strict_yaml import YamlPath
from orchestrator.grids.sweep_spec import MatchParams

MAX_WARNINGS = 20

Choices = tuple[tuple[int, int], ...]
"""Units and the row each takes."""


@dataclass(frozen=True)
class UnreadOption:
    """Values of an attention's option in cells of an attention that does not read it."""

    option: str
    attention: str
    num_values: int
    option_path: YamlPath
    attention_path: YamlPath


@dataclass
class GridWarnings:
    """Collects while `expand_grid` walks."""

    combinations: Combinations
    num_collapsed: int = 0
    """Combinations that are the same cell as another."""
    used_exclusions: set[int] = field(default_factory=set)
    used_units: set[int] = field(default_factory=set)
    used_overrides: set[int] = field(default_factory=set)
    """Rules of `resources.overrides` that agree with some cell."""
    equal: dict[tuple[Choices, Choices], None] = field(default_factory=dict)
    """In what combinations differ that are one cell, the earlier one first."""
    unread: dict[UnreadOption, None] = field(default_factory=dict)
    num_epochs: int = 0
    """Of the longest trial, cool-down included."""

    def see_exclusions(self, values: Mapping[str, Any]) -> bool:
        """Whether the cell with these values is excluded."""
        rules = self.combinations.spec.exclude
        matching = [index for index, rule in enumerate(rules) if holds(rule, values)]
        self.used_exclusions.update(matching)
        return bool(matching)

    def see_cell(self, combination: Combination, values: Mapping[str, Any]) -> None:
        """Takes note of a cell that is not excluded."""
        overrides = self.combinations.spec.resource_overrides
        self.used_overrides.update(index for index, rule in enumerate(overrides) if holds(rule.when, values))
        self.num_epochs = max(self.num_epochs, values["epochs"] + values["cooldown_epochs"])
        unread = list(self._unread(combination, values))
        self.unread.update(dict.fromkeys(unread))
        self.num_collapsed += math.prod(found.num_values for found in unread) - 1
        self.used_units.update(index for index, row in enumerate(combination.rows) if row != NO_ROW)

    def see_equal(self, first: Combination, later: Combination) -> None:
        """Takes note of two combinations that are one cell."""
        pairs = list(enumerate(zip(first.rows, later.rows, strict=True)))
        before = tuple((index, row) for index, (row, other) in pairs if row != other)
        after = tuple((index, other) for index, (row, other) in pairs if row != other)
        self.equal[before, after] = None
        self.num_collapsed += 1

    def texts(self) -> tuple[str, ...]:
        """The warnings, each beginning with file:line:column."""
        found = [
            *self._exclusion_texts(),
            *self._condition_texts(),
            *self._override_texts(),
            *self._probe_texts(),
            *map(self._unread_text, self.unread),
        ]
        found += [self._equal_text(*pair) for pair in self.equal if self._is_news(*pair)]
        if len(found) > MAX_WARNINGS:
            left = len(found) - MAX_WARNINGS
            return (*found[:MAX_WARNINGS], f"{self.combinations.spec.source_path}: {left} more warnings like these")
        return tuple(found)

    def _unread(self, combination: Combination, values: Mapping[str, Any]) -> Iterator[UnreadOption]:
        rows = dict(enumerate(combination.rows))
        for index, unit in enumerate(self.combinations.units):
            for axis in unit.axes:
                if axis.name not in ATTENTION_OPTIONS or values[axis.name] is not None or not holds(unit.when, values):
                    continue
                num_values, row = 1, rows[index]
                if len(unit.axes) == 1:
                    if "attention" in unit.when or row != NO_ROW or unit.num_rows == 1:
                        continue
                    num_values = unit.num_rows
                elif axis.values[row] is None:
                    continue
                path = axis.path if row == NO_ROW else (*axis.path, row)
                attention_path = combination_path(self.combinations, rows, ("attention",))
                yield UnreadOption(axis.name, values["attention"], num_values, path, attention_path)

    def _exclusion_texts(self) -> Iterator[str]:
        for index in range(len(self.combinations.spec.exclude)):
            if index not in self.used_exclusions:
                yield f"{self._place(('exclude', index))}: this rule of exclude: removes no cell"

    def _condition_texts(self) -> Iterator[str]:
        for index, unit in enumerate(self.combinations.units):
            if index not in self.used_units:
                yield f"{self._place(unit.axes[0].path)}: axis {unit.names[0]} applies to no cell"

    def _override_texts(self) -> Iterator[str]:
        spec = self.combinations.spec
        tuned = () if spec.tune is None else spec.tune.names  # what a search will propose is not known here
        for index, rule in enumerate(spec.resource_overrides):
            if index not in self.used_overrides and not rule.when.keys() & set(tuned):
                place = self._place(("resources", "overrides", index))
                yield f"{place}: this rule of resources.overrides: applies to no cell"

    def _probe_texts(self) -> Iterator[str]:
        for index, epoch in enumerate(self.combinations.spec.probe.epochs):
            if epoch > self.num_epochs:
                place = self._place(("probe", "epochs", index))
                yield f"{place}: nothing is probed at epoch {epoch}: no trial lasts longer than {self.num_epochs}"

    def _unread_text(self, found: UnreadOption) -> str:
        place = f"{self._place(found.option_path)}: "
        reader = f"attention {found.attention!r} at {self._place(found.attention_path)}"
        if found.num_values == 1:
            return f"{place}{found.option} is left out for {reader}, which does not read it"
        return f"{place}the {found.num_values} values of {found.option} are one for {reader}, which does not read it"

    def _is_news(self, before: Choices, after: Choices) -> bool:
        """False for what `match_params` is meant to do, and for what follows from other warnings."""
        if any(_is_matched(self.combinations.units[index], row) for index, row in (*before, *after)):
            return False
        singles = [((one,), (other,)) for one, other in zip(before, after, strict=True)]
        return len(singles) == 1 or not all(single in self.equal for single in singles)

    def _equal_text(self, before: Choices, after: Choices) -> str:
        places = " and ".join(self._place(self._choice_path(*choice)) for choice in before)
        place = self._place(self._choice_path(*after[0]))
        return f"{place}: {self._describe(after)} repeats {self._describe(before)} at {places}; their cells are one"

    def _describe(self, choices: Choices) -> str:
        return " with ".join(_describe_row(self.combinations.units[index], row) for index, row in choices)

    def _choice_path(self, index: int, row: int) -> YamlPath:
        path = self.combinations.units[index].axes[0].path
        return path if row == NO_ROW else (*path, row)

    def _place(self, path: YamlPath) -> str:
        return self.combinations.spec.describe_place(path)


def _describe_row(unit: Unit, row: int) -> str:
    if row == NO_ROW:
        return f"no {unit.names[0]}"
    return ", ".join(f"{name} {value}" for name, value in unit.row(row).items())


def _is_matched(unit: Unit, row: int) -> bool:
    return any(isinstance(value, MatchParams) for value in unit.row(row).values())
