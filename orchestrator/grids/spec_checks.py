"""A spec whose every value is legal by itself in; what does not go together in some cell of it out.

A rule looks at few fields, so only the combinations of their axes are visited, and a combination that breaks the rule
is reported when some cell takes it. The grid itself is never visited, however large it is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from orchestrator.catalog import ATTENTION_OPTIONS
from orchestrator.configs import GOVERNED, section_of
from orchestrator.grids.cell_rules import CELL_RULES, CellRule
from orchestrator.grids.cell_values import resolve_values
from orchestrator.grids.combinations import NO_ROW, CircleError, Combinations, combination_path, option_owners
from orchestrator.grids.counting import Counting
from orchestrator.grids.spec_findings import Findings
from orchestrator.grids.sweep_spec import MatchParams, SweepSpec

MAX_VISITED = 200_000
"""Combinations of one rule's axes beyond which only `expand_grid` checks it."""

MAX_REPORTED = 10
"""Problems of one rule; a grid of many bad combinations has one cause."""


def check_spec(findings: Findings, spec: SweepSpec) -> None:
    """Reports what does not go together; fields that could not be read are left alone."""
    combinations = Combinations(spec)
    if not _check_conditions(findings, combinations):
        return
    counting = Counting(combinations)
    if counting.count() == 0:
        findings.report(("exclude",), "no cell is left", "exclude: removes every one; remove a rule of it", key=True)
        return
    _check_options(findings, counting)
    _check_governed(findings, spec)
    for rule in CELL_RULES:
        if not findings.broken & set(rule.fields):
            check_rule(findings, counting, rule)


def _check_conditions(findings: Findings, combinations: Combinations) -> bool:
    matched = [a.name for a in combinations.spec.all_axes if any(isinstance(v, MatchParams) for v in a.values)]
    is_sound = True
    for axis in combinations.spec.axes:
        for name in [name for name in matched if name in axis.when]:
            path = (*axis.path[:-1], "when", name)
            findings.report(path, f"when: cannot look at {name} here", "its axis has widths that match_params computes")
            is_sound = False
    try:
        _ = combinations.order
    except CircleError as error:
        findings.report((*error.axis.path[:-1], "when"), str(error), "let when: look at other fields", key=True)
        is_sound = False
    return is_sound


def _check_options(findings: Findings, counting: Counting) -> None:
    """An option of an attention that no cell uses is a mistake."""
    spec = counting.combinations.spec
    given = {**spec.given, **{axis.name: None for axis in spec.all_axes}}
    for option in sorted(ATTENTION_OPTIONS & given.keys() - findings.broken):
        owners = option_owners(option)
        if "attention" not in findings.broken and not _is_attention_used(counting, owners):
            path = next((axis.path for axis in spec.all_axes if axis.name == option), ("model", option))
            message = f"{option} is an option of {', '.join(owners)}, which no cell uses"
            findings.report(path, message, f"remove it, or let attention be {' or '.join(owners)}", key=True)


def _check_governed(findings: Findings, spec: SweepSpec) -> None:
    """A field that only another one gives a meaning, which no cell sets, is a mistake."""
    axes = {axis.name: axis for axis in spec.all_axes}
    for name, (governor, _) in GOVERNED.items():
        if not ({name} & (spec.given.keys() | axes.keys())) or findings.broken & {name, governor}:
            continue
        values = axes[governor].values if governor in axes else (spec.given.get(governor),)
        if all(value in (None, "none") for value in values):
            path = axes[name].path if name in axes else (section_of(name), name)
            findings.report(path, f"{name} means nothing without {governor}", f"set {governor}, or remove it", key=True)


def _is_attention_used(counting: Counting, owners: tuple[str, ...]) -> bool:
    combinations = counting.combinations
    return any(
        resolve_values(combinations.spec, assigned)["attention"] in owners and counting.count(rows) > 0
        for rows, assigned in _projections(combinations, ("attention",))
    )


def check_rule(findings: Findings, counting: Counting, rule: CellRule) -> None:
    """Reports the combinations of the rule's axes that break it in some cell."""
    combinations = counting.combinations
    reported: set[tuple[object, str]] = set()
    for rows, assigned in _projections(combinations, rule.fields):
        found = rule.problem(resolve_values(combinations.spec, assigned))
        if found is None:
            continue
        path = combination_path(combinations, rows, rule.fields)
        if (path, found[0]) in reported or counting.count(rows) == 0:
            continue
        if len(reported) == MAX_REPORTED:
            findings.report(path, "and more combinations like these", found[1])
            return
        reported.add((path, found[0]))
        findings.report(path, *found)


def _projections(
    combinations: Combinations, names: tuple[str, ...]
) -> Iterator[tuple[dict[int, int], dict[str, object]]]:
    """Rows of the units that decide `names`, and the values they assign; none where there are too many."""
    indices = sorted(combinations.units_of(names))
    units = [combinations.units[index] for index in indices]
    choices = [[*range(unit.num_rows), *([NO_ROW] if unit.when or unit.read_by else [])] for unit in units]
    if math.prod(len(rows) for rows in choices) > MAX_VISITED:
        return
    for rows in itertools.product(*choices):
        assigned: dict[str, object] = {}
        for unit, row in zip(units, rows, strict=True):
            assigned.update(unit.row(row))
        yield dict(zip(indices, rows, strict=True)), assigned
