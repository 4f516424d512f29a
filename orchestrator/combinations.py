"""A spec in; the combinations of its axes out, in order, before anything is excluded.

An axis or a group of zipped axes is a unit: something that takes one of several rows. A unit whose condition does not
hold takes no row (index -1). Conditions see axes, so units are visited after those that their conditions look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.catalog import ATTENTION_OPTIONS
from orchestrator.cell_values import resolve_values
from orchestrator.strict_yaml import YamlPath
from orchestrator.sweep import Axis, SweepSpec

NO_ROW = -1


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

    @property
    def when(self) -> Mapping[str, tuple[Any, ...]]:
        """A zipped group has no condition."""
        return self.axes[0].when

    def row(self, index: int) -> dict[str, Any]:
        """Field to value; nothing for `NO_ROW`."""
        return {} if index == NO_ROW else {axis.name: axis.values[index] for axis in self.axes}

    def paths(self, index: int) -> tuple[YamlPath, ...]:
        """Where the values of a row stand."""
        return tuple((*axis.path, index) for axis in self.axes)


@dataclass(frozen=True)
class Combination:
    """One row of every unit that applies."""

    rows: tuple[int, ...]
    """Row of each unit in the order of the spec, `NO_ROW` where its condition does not hold."""
    assigned: Mapping[str, Any]
    """Field to value, of axes that apply."""


@dataclass(frozen=True)
class Combinations:
    """All combinations of a spec's axes."""

    spec: SweepSpec

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """In the order of the spec, zipped groups last."""
        return (*(Unit((axis,)) for axis in self.spec.axes), *(Unit(group) for group in self.spec.zips))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Indices of the units, each after those its condition looks at; else in the order of the spec."""
        owner = {name: index for index, unit in enumerate(self.units) for name in unit.names}
        needs = [{owner[name] for name in sources_of(unit.when) if name in owner} for unit in self.units]
        order: list[int] = []
        while len(order) < len(self.units):
            ready = [i for i, need in enumerate(needs) if i not in order and need <= set(order)]
            if not ready:
                raise ValueError("conditions look at each other in a circle")
            order.append(ready[0])
        return tuple(order)

    def __iter__(self) -> Iterator[Combination]:
        yield from self._visit(0, [NO_ROW] * len(self.units), {})

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
        if not unit.when:
            return True
        values = resolve_values(self.spec, assigned)
        return all(values[name] in allowed for name, allowed in unit.when.items())


def sources_of(names: Mapping[str, Any]) -> set[str]:
    """The fields that decide the values of `names`: a dataset knows its image size, an attention its options."""
    found = set(names)
    if found & ATTENTION_OPTIONS:
        found.add("attention")
    if found & {"img_size", "num_classes", "in_chans", "test_fraction"}:
        found.add("name")
    return found
