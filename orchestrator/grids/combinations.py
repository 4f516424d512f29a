"""A spec in; the combinations of its axes out, in order, before anything is excluded.

An axis or a group of zipped axes is a unit: something that takes one of several rows. A unit whose conditions do not
hold takes no row (`NO_ROW`). Conditions see axes, so units are visited after those that their conditions look at. An
option of an attention has a condition of its own: that the cell's attention reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from orchestrator.catalog import ATTENTION_OPTIONS, ATTENTIONS
from orchestrator.grids.cell_values import resolve_values
from orchestrator.grids.spec_fields import FILLED_FROM_CATALOG
from orchestrator.grids.strict_yaml import YamlPath
from orchestrator.grids.sweep_spec import Axis, SweepSpec

NO_ROW = -1

Condition = Mapping[str, tuple[Any, ...]]
"""Fields and the values they may have; holds when all of them do."""


@dataclass(frozen=True)
class Unit:
    """Axes that advance together; one axis, or a zipped group."""

    axes: tuple[Axis, ...]

    @property
    def num_rows(self) -> int:
        return len(self.axes[0].values)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @cached_property
    def when(self) -> Condition:
        """The condition the spec gives; a zipped group has none."""
        return self.axes[0].when

    @cached_property
    def read_by(self) -> Condition:
        """The attentions that read this axis, for an axis that is an option of some."""
        name = self.axes[0].name
        if len(self.axes) > 1 or name not in ATTENTION_OPTIONS:
            return {}
        return {"attention": option_owners(name)}

    def row(self, index: int) -> dict[str, Any]:
        """Field to value; nothing for `NO_ROW`."""
        return {} if index == NO_ROW else {axis.name: axis.values[index] for axis in self.axes}


@dataclass(frozen=True)
class Combination:
    """One row of every unit that applies."""

    rows: tuple[int, ...]
    """Row of each unit in the order of the spec, `NO_ROW` where it does not apply."""
    assigned: Mapping[str, Any]
    """Field to value, of axes that apply."""


@dataclass(frozen=True)
class Combinations:
    """All combinations of a spec's axes, the first axis slowest."""

    spec: SweepSpec
    units: tuple[Unit, ...] = field(init=False)
    """In the order of the spec, zipped groups last."""

    def __post_init__(self) -> None:
        groups = (*((axis,) for axis in self.spec.axes), *self.spec.zips)
        object.__setattr__(self, "units", tuple(Unit(group) for group in groups))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Indices of the units, each after those its conditions look at, else in the order of the spec.

        Raises:
            CircleError: conditions look at each other in a circle.
        """
        needs = [self.units_of({*unit.when, *unit.read_by}) for unit in self.units]
        order: list[int] = []
        while len(order) < len(self.units):
            waiting = [index for index in range(len(self.units)) if index not in order]
            ready = [index for index in waiting if needs[index] <= set(order)]
            if not ready:
                raise CircleError(self.units[waiting[0]].axes[0])
            order.append(ready[0])
        return tuple(order)

    def units_of(self, names: Iterable[str]) -> set[int]:
        """The units that decide the values of fields: an attention decides its options, a dataset its image size."""
        names = sources_of(names)
        return {index for index, unit in enumerate(self.units) if names & set(unit.names)}

    def __iter__(self) -> Iterator[Combination]:
        if self.order == tuple(range(len(self.units))):
            yield from self._visit(0, [NO_ROW] * len(self.units), {})
        else:
            yield from sorted(self._visit(0, [NO_ROW] * len(self.units), {}), key=lambda found: found.rows)

    def _visit(self, position: int, rows: list[int], assigned: dict[str, Any]) -> Iterator[Combination]:
        if position == len(self.order):
            yield Combination(tuple(rows), assigned)
            return
        index = self.order[position]
        unit = self.units[index]
        choices = range(unit.num_rows) if self._applies(unit, assigned) else (NO_ROW,)
        for choice in choices:
            rows[index] = choice
            yield from self._visit(position + 1, rows, {**assigned, **unit.row(choice)})

    def _applies(self, unit: Unit, assigned: Mapping[str, Any]) -> bool:
        if not unit.when and not unit.read_by:
            return True
        values = resolve_values(self.spec, assigned)
        return holds(unit.when, values) and holds(unit.read_by, values)


class CircleError(ValueError):
    """Conditions of axes look at each other in a circle."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        super().__init__(f"the condition of {axis.name} depends on {axis.name} itself")


def holds(condition: Condition, values: Mapping[str, Any]) -> bool:
    """Whether every field of `condition` has one of the values it may have."""
    return all(values[name] in allowed for name, allowed in condition.items())


def option_owners(option: str) -> tuple[str, ...]:
    """The attentions that read a model field such as `reattention_last`."""
    return tuple(name for name, info in ATTENTIONS.items() if option in info.options)


def sources_of(names: Iterable[str]) -> set[str]:
    """`names` and the fields that decide them where the spec does not."""
    found = set(names)
    if found & ATTENTION_OPTIONS:
        found.add("attention")
    if found & FILLED_FROM_CATALOG:
        found.add("name")
    return found


def combination_path(combinations: Combinations, rows: Mapping[int, int], names: Iterable[str]) -> YamlPath:
    """Where the first of the fields `names` that the spec gives stands: as an axis in these rows, else in a section.

    The last resort is an axis that does not apply in these rows.
    """
    names, units = tuple(names), combinations.units
    owners = {axis.name: (index, axis) for index, unit in enumerate(units) for axis in unit.axes}
    axes = [owners[name] for name in names if name in owners]
    applying = [(*axis.path, rows[index]) for index, axis in axes if rows.get(index, NO_ROW) != NO_ROW]
    sections = combinations.spec.sections
    fixed = [(section, name) for name in names for section, content in sections.items() if name in content]
    return next(iter((*applying, *fixed, *(axis.path for _, axis in axes))), ())
