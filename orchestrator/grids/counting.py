"""A spec in; how many combinations its conditions and exclusions leave, without visiting them.

Units are taken one after another. All that the rows taken so far have settled is which constraints can still hold;
combinations that agree on that are counted together. So an axis that no constraint looks at costs one multiplication,
whatever its length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.grids.cell_values import resolve_values
from orchestrator.grids.combinations import NO_ROW, Combinations, Condition, option_owners


@dataclass(frozen=True, eq=False)
class Constraint:
    """A condition that excludes cells, or without which a unit takes no row."""

    condition: Condition
    fields: Mapping[int, tuple[str, ...]]
    """Unit to the fields of the condition that it decides; a field without an axis is decided by none."""
    guarded: int | None = None
    """The unit that needs it; None for an exclusion."""
    is_reading: bool = False
    """Whether it says that the cell's attention reads the unit."""

    def is_broken(self, names: tuple[str, ...], values: Mapping[str, Any]) -> bool:
        """Whether one of the fields `names` has a value that the condition does not allow."""
        return any(values[name] not in self.condition[name] for name in names)


Live = frozenset[Constraint]
"""Constraints whose condition can still hold."""


class Counting:
    """Counts the combinations of a spec."""

    def __init__(self, combinations: Combinations) -> None:
        self.combinations = combinations
        self.constraints = list(self._constraints())
        units = range(len(combinations.units))
        self._guards = [frozenset(c for c in self.constraints if c.guarded == index) for index in units]
        self._closing = [frozenset(c for c in self.constraints if self._last_unit(c) == index) for index in units]
        self._rows = [self._count_rows(index) for index in units]
        self._start = self._constraints_without_axes_hold()

    def count(self, fixed: Mapping[int, int] | None = None) -> int:
        """Combinations that are not excluded, among those that take the rows `fixed` (unit to row).

        Exact but for two things, for which it is an upper bound: equal cells are counted apart, and an exclusion by
        `embed_dim` does not see widths that `match_params` computes.
        """
        if any(c.guarded is None and not c.fields for c in self._start):
            return 0
        counts: Counter[Live] = Counter({self._start: 1})
        for index in self.combinations.order:
            counts = self._take(index, counts, (fixed or {}).get(index))
        return counts.total()

    def _take(self, index: int, counts: Counter[Live], fixed: int | None) -> Counter[Live]:
        after: Counter[Live] = Counter()
        for live, num_combinations in counts.items():
            for broken, num_rows in self._choices(index, live, fixed):
                left = live - broken
                if all(c.guarded is not None for c in left & self._closing[index]):
                    after[left - self._guards[index]] += num_combinations * num_rows
        return after

    def _choices(self, index: int, live: Live, fixed: int | None) -> Iterator[tuple[Live, int]]:
        """What rows of the unit break, and how many rows break just that."""
        missing = self._guards[index] - live
        if missing and fixed in (None, NO_ROW):
            yield self._broken_without_row(index, is_read=not any(c.is_reading for c in missing)), 1
        elif not missing and fixed is None:
            yield from self._rows[index].items()
        elif not missing and fixed is not None and fixed != NO_ROW:
            yield self._broken_by(index, fixed), 1

    def _constraints(self) -> Iterator[Constraint]:
        for rule in self.combinations.spec.exclude:
            yield Constraint(rule, self._deciding_units(rule))
        for index, unit in enumerate(self.combinations.units):
            for condition, is_reading in ((unit.when, False), (unit.read_by, True)):
                if condition:
                    yield Constraint(condition, self._deciding_units(condition), index, is_reading)

    def _deciding_units(self, condition: Condition) -> dict[int, tuple[str, ...]]:
        found: dict[int, tuple[str, ...]] = {}
        for name in condition:
            own = [index for index, unit in enumerate(self.combinations.units) if name in unit.names]
            for index in (own or sorted(self.combinations.units_of([name])))[:1]:
                found[index] = (*found.get(index, ()), name)
        return found

    def _last_unit(self, constraint: Constraint) -> int | None:
        return max(constraint.fields, key=self.combinations.order.index, default=None)

    def _constraints_without_axes_hold(self) -> Live:
        values = resolve_values(self.combinations.spec, {})
        found = []
        for constraint in self.constraints:
            decided = {name for names in constraint.fields.values() for name in names}
            if not constraint.is_broken(tuple(constraint.condition.keys() - decided), values):
                found.append(constraint)
        return frozenset(found)

    def _count_rows(self, index: int) -> Counter[Live]:
        unit = self.combinations.units[index]
        different = {repr(unit.row(number)): number for number in range(unit.num_rows)}
        return Counter(self._broken_by(index, number) for number in different.values())

    def _broken_by(self, index: int, row: int) -> Live:
        assigned = {**self._reading_attention(index), **self.combinations.units[index].row(row)}
        return self._broken(index, resolve_values(self.combinations.spec, assigned))

    def _broken_without_row(self, index: int, *, is_read: bool) -> Live:
        values = resolve_values(self.combinations.spec, self._reading_attention(index))
        if not is_read:
            values[self.combinations.units[index].names[0]] = None
        return self._broken(index, values)

    def _broken(self, index: int, values: Mapping[str, Any]) -> Live:
        return frozenset(c for c in self.constraints if c.is_broken(c.fields.get(index, ()), values))

    def _reading_attention(self, index: int) -> dict[str, Any]:
        """An attention that reads the unit's options, where another axis says which."""
        owners = [owner for name in self.combinations.units[index].names for owner in option_owners(name)]
        return {"attention": owners[0]} if owners and self.combinations.units_of(["attention"]) else {}
