"""The parts of too many curves in; those that a figure draws out, so that what is compared stays side by side."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.views.curves import field_name

MAX_DRAWN_CURVES = 36
"""So many curves are drawn in figures of accuracy; where there are more, at most `FEW_DRAWN_CURVES`."""
FEW_DRAWN_CURVES = 12
FEW_GROUPS = 4
"""Groups of compared curves that are drawn of very many: each takes a panel."""


def choose_curves(parts: Mapping[str, Mapping[str, str]], limit: int) -> list[str]:
    """Labels of at most `limit` curves in their order: all of them, or whole groups of curves that are compared.

    A group has one value of every axis that all curves name; its curves differ in the attention, or in the first axis
    that varies. Groups come in the order of their first curve; one that no longer fits, and all after it, are left out.

    Args:
        parts: label -> (axis -> text).
    """
    if len(parts) <= limit:
        return list(parts)
    shown: list[str] = []
    for labels in _groups(parts)[:FEW_GROUPS]:
        if shown and len(shown) + len(labels) > limit:
            break
        shown += labels[:limit]
    chosen = set(shown)
    return [label for label in parts if label in chosen]


def curves_of_a_figure(parts: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Labels of the curves that a figure of accuracy draws."""
    return choose_curves(parts, MAX_DRAWN_CURVES if len(parts) <= MAX_DRAWN_CURVES else FEW_DRAWN_CURVES)


def say_choice(num_shown: int, num_curves: int) -> str:
    """For a caption."""
    return f"Only {num_shown} of {num_curves} curves are drawn, the first that are compared with each other."


def _groups(parts: Mapping[str, Mapping[str, str]]) -> list[list[str]]:
    axes = dict.fromkeys(axis for told in parts.values() for axis in told)
    varying = [axis for axis in axes if len({told.get(axis) for told in parts.values()}) > 1]
    compared = min(varying, key=lambda axis: field_name(axis) != "attention", default="")
    shared = [axis for axis in varying if axis != compared and all(axis in told for told in parts.values())]
    groups: dict[tuple[str, ...], list[str]] = {}
    for label, told in parts.items():
        groups.setdefault(tuple(told[axis] for axis in shared), []).append(label)
    return list(groups.values())
