"""A spec in; how many combinations its conditions and exclusions leave out, without visiting them.

Units are taken one after another. All that the combinations of the units so far have left behind is which conditions
can still hold; combinations that leave the same set are counted together. So an axis that no condition looks at costs
one multiplication, whatever its length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.cell_values import resolve_values
from orchestrator.combinations import NO_ROW, Combinations, Condition, option_owners

Live = frozenset[int]
"""Conditions that can still hold, by index."""


@dataclass(frozen=True)
class Counting:
    """Counts the combinations of a spec."""

    combinations: Combinations

    def count(self, fixed: Mapping[int, int] | None = None) -> int:
        """Combinations that are not excluded, among those that take the rows `fixed` (unit to row).

        Exact but for two things, for which it is an upper bound: equal cells are counted apart, and an exclusion by
        `embed_dim` does not see widths that `match_params` computes.
        """
        fixed = fixed or {}
        counts: Counter[Live] = Counter()
        if not any(self._is_exclusion(number) for number in self._constant if number in self._at_start):
            counts[self._at_start] = 1
        for index in self.combinations.order:
            counts = self._take(index, counts, fixed.get(index))
        return counts.total()

    def _take(self, index: int, counts: Counter[Live], fixed: int | None) -> Counter[Live]:
        after: Counter[Live] = Counter()
        for live, number in counts.items():
            for fails, num_rows in self._choices(index, live, fixed):
                left = live - fails
                if not any(self._is_exclusion(n) for n in left & self._decided_by[index]):
                    after[left - self._conditions_of[index]] += number * num_rows
        return after

    def _choices(self, index: int, live: Live, fixed: int | None) -> Iterator[tuple[Live, int]]:
        """Sets of conditions that rows of the unit break, and how many rows break each."""
        unit = self.combinations.units[index]
        missed = self._conditions_of[index] - live
        if missed:
            if fixed in (None, NO_ROW):
                yield self._broken_without_row(index, is_read=self._read_condition.get(index) not in missed), 1
        elif fixed is None:
            yield from self._rows[index].items()
        elif fixed != NO_ROW:
            yield self._broken_by(index, unit.row(fixed)), 1

    @cached_property
    def _conditions(self) -> tuple[Condition, ...]:
        """Exclusions, then for each unit the condition of the spec and that of its attention."""
        units = self.combinations.units
        return (*self.combinations.spec.exclude, *(unit.when for unit in units), *(unit.read_by for unit in units))

    def _is_exclusion(self, number: int) -> bool:
        return number < len(self.combinations.spec.exclude)

    @cached_property
    def _conditions_of(self) -> tuple[Live, ...]:
        """The conditions under which each unit applies."""
        num_exclusions, num_units = len(self.combinations.spec.exclude), len(self.combinations.units)
        found = []
        for index in range(num_units):
            numbers = (num_exclusions + index, num_exclusions + num_units + index)
            found.append(frozenset(number for number in numbers if self._conditions[number]))
        return tuple(found)

    @cached_property
    def _read_condition(self) -> dict[int, int]:
        """Unit to the number of the condition that its attention is the cell's."""
        first = len(self._conditions) - len(self.combinations.units)
        return {index: first + index for index, unit in enumerate(self.combinations.units) if unit.read_by}

    @cached_property
    def _fields_by_unit(self) -> tuple[dict[int, list[str]], ...]:
        """For each condition, the unit that decides each of its fields."""
        return tuple(self._fields_of(condition) for condition in self._conditions)

    def _fields_of(self, condition: Condition) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for name in condition:
            owners = [index for index, unit in enumerate(self.combinations.units) if name in unit.names]
            owners = owners or sorted(self.combinations.units_of([name]))
            if owners:
                found.setdefault(owners[0], []).append(name)
        return found

    @cached_property
    def _decided_by(self) -> tuple[Live, ...]:
        """For each unit, the conditions of which it decides the last open field."""
        position = {index: place for place, index in enumerate(self.combinations.order)}
        last = [max(fields, key=lambda index: position[index], default=None) for fields in self._fields_by_unit]
        units = range(len(self.combinations.units))
        return tuple(frozenset(n for n, index in enumerate(last) if index == unit) for unit in units)

    @cached_property
    def _constant(self) -> tuple[int, ...]:
        """Conditions that no unit decides any field of."""
        return tuple(number for number, fields in enumerate(self._fields_by_unit) if not fields)

    @cached_property
    def _at_start(self) -> Live:
        """Conditions that fields without an axis do not break."""
        values = resolve_values(self.combinations.spec, {})
        found = []
        for number, condition in enumerate(self._conditions):
            decided = {name for names in self._fields_by_unit[number].values() for name in names}
            if condition and all(values[name] in condition[name] for name in condition if name not in decided):
                found.append(number)
        return frozenset(found)

    @cached_property
    def _rows(self) -> tuple[Counter[Live], ...]:
        """For each unit, how many different rows break which conditions."""
        found = []
        for index, unit in enumerate(self.combinations.units):
            rows = {repr(unit.row(number)): unit.row(number) for number in range(unit.num_rows)}
            found.append(Counter(self._broken_by(index, row) for row in rows.values()))
        return tuple(found)

    def _broken_by(self, index: int, row: Mapping[str, Any]) -> Live:
        values = resolve_values(self.combinations.spec, {**self._context(index), **row})
        return self._broken(index, values)

    def _broken_without_row(self, index: int, *, is_read: bool) -> Live:
        values = resolve_values(self.combinations.spec, self._context(index))
        if not is_read:
            values[self.combinations.units[index].names[0]] = None
        return self._broken(index, values)

    def _context(self, index: int) -> dict[str, Any]:
        """An attention that reads the unit's options, where the unit does not say which."""
        owners = (owner for name in self.combinations.units[index].names for owner in option_owners(name))
        owner = next(owners, None)
        return {} if owner is None or not self.combinations.units_of(["attention"]) else {"attention": owner}

    def _broken(self, index: int, values: Mapping[str, Any]) -> Live:
        found = []
        for number, fields in enumerate(self._fields_by_unit):
            names = fields.get(index, ())
            if any(values[name] not in self._conditions[number][name] for name in names):
                found.append(number)
        return frozenset(found)
