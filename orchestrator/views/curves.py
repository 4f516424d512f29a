"""The axes of a sweep's cells in; a name for each cell, and for the curve over depth that it lies on, out.

A curve holds every axis but depth fixed. An axis that merely follows depth (zipped with it, or a width that keeps the
parameter count) does not split a curve into single points: its values are joined and named "by depth".
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BY_DEPTH = "by depth"


class Shared(dict[str, Any]):
    """A dict in the `attrs` of frames that nobody changes: pandas copies attrs deeply with every slice, and copies of
    this one are itself.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        return self


@dataclass(frozen=True)
class CurveName:
    """How a cell is called."""

    cell: str
    """All its axes: `depth 12, self, embed_dim 48`."""
    curve: str
    """All its axes but depth: `self, embed_dim 48`."""
    parts: Mapping[str, str]
    """Axis to text, for each axis that `curve` names."""


def name_curves(cells: Sequence[Mapping[str, Any]]) -> list[CurveName]:
    """The names of `cells`, each given as axis -> value, in their order."""
    texts = _texts(cells)
    joined = _follows_depth(cells)
    names = []
    for index, axes in enumerate(cells):
        named = {axis: texts[axis, _key(value)] for axis, value in axes.items() if value is not None}
        parts = {axis: text for axis, text in named.items() if field_name(axis) != "depth"}
        for axis in joined[index]:
            parts[axis] = f"{field_name(axis)} {BY_DEPTH}"
        names.append(CurveName(", ".join(named.values()), ", ".join(parts.values()), parts))
    return names


def field_name(axis: str) -> str:
    """`depth` for `depth` and for `model.depth`."""
    return axis.rpartition(".")[2]


def value_text(value: Any) -> str:
    """A value of an axis as a person writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, separators=(", ", ": ")).replace('"', "")
    return str(value)


def _texts(cells: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """(axis, key of value) to text; a user's attention loses its module where the class name alone is clear."""
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    for axes in cells:
        for axis, value in axes.items():
            values[axis][_key(value)] = value
    texts = {}
    for axis, found in values.items():
        short = [value_text(value).rpartition(":")[2] for value in found.values()]
        for key, value in found.items():
            text = value_text(value)
            if field_name(axis) == "attention":
                texts[axis, key] = text if short.count(text.rpartition(":")[2]) > 1 else text.rpartition(":")[2]
            else:
                texts[axis, key] = f"{field_name(axis)} {text}"
    return texts


def _follows_depth(cells: Sequence[Mapping[str, Any]]) -> list[set[str]]:
    """For each cell, the axes whose value there is one of a row of values that changes with depth."""
    joined: list[set[str]] = [set() for _ in cells]
    axes = dict.fromkeys(axis for cell in cells for axis in cell)
    depth = next((axis for axis in axes if field_name(axis) == "depth"), None)
    if depth is None:
        return joined
    for axis in axes:
        if axis != depth:
            for members in _groups(cells, without=(axis, depth)):
                for index in _row(cells, members, axis, depth):
                    joined[index].add(axis)
    return joined


def _groups(cells: Sequence[Mapping[str, Any]], without: tuple[str, str]) -> list[list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, cell in enumerate(cells):
        groups[_key({axis: value for axis, value in cell.items() if axis not in without})].append(index)
    return list(groups.values())


def _row(cells: Sequence[Mapping[str, Any]], members: list[int], axis: str, depth: str) -> list[int]:
    """The members whose number on `axis` stands at one depth only, when there is at most one such at each depth."""
    depths_of: dict[str, set[str]] = defaultdict(set)
    for index in members:
        depths_of[_key(cells[index].get(axis))].add(_key(cells[index].get(depth)))
    row = [index for index in members if len(depths_of[_key(cells[index].get(axis))]) == 1]
    depths = [_key(cells[index].get(depth)) for index in row]
    is_row = len(row) > 1 and len(set(depths)) == len(row) and all(_is_number(cells[index].get(axis)) for index in row)
    return row if is_row else []


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
