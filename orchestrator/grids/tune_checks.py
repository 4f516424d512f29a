"""A spec with `tune:` whose every value is legal by itself in; what some cell could not be searched with out.

Each nuisance axis is looked at as if it multiplied: its choices, or the ends of its range, whole numbers in between too
where they are few. So a rule that some proposal would break is told before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.grids.cell_rules import CELL_RULES, CellRule, Found
from orchestrator.grids.combinations import Combinations
from orchestrator.grids.counting import Counting
from orchestrator.grids.spec_checks import check_rule, check_spec
from orchestrator.grids.spec_fields import FIELDS
from orchestrator.grids.spec_findings import Findings
from orchestrator.grids.strict_yaml import YamlPath
from orchestrator.grids.sweep_spec import Axis, MatchParams, SweepSpec
from orchestrator.grids.tune_spec import Range

MAX_LISTED = 100
"""Whole numbers of a range that are all looked at; of a longer one only the ends are."""


def check_tune(findings: Findings, spec: SweepSpec) -> None:
    """`check_spec` for a spec with `tune:`, and what only a search asks for."""
    num_problems = len(findings.problems)
    for path, name, message, hint in _conditions_on_tuned(spec):
        findings.report(path, f"{message} {name}, which tune: chooses", hint, key=True)
    if len(findings.problems) > num_problems:
        return
    every = with_tuned_axes(spec)
    check_spec(findings, every)
    if len(findings.problems) > num_problems:
        return
    counting = Counting(Combinations(every))
    for rule in _search_rules(spec):
        if not findings.broken & set(rule.fields):
            check_rule(findings, counting, rule)


def with_tuned_axes(spec: SweepSpec) -> SweepSpec:
    """The spec with its nuisance axes among the scientific ones, at the values that are checked."""
    assert spec.tune is not None
    return replace(spec, axes=(*spec.axes, *map(_as_axis, spec.tune.axes)), tune=None)


def _as_axis(one: Range) -> Axis:
    if one.kind == "int_uniform" and one.values[1] - one.values[0] < MAX_LISTED:
        values = tuple(range(one.values[0], one.values[1] + 1))
        return Axis(name=one.name, values=values, path=one.path if len(values) == 2 else (*one.path, "each"))
    return Axis(name=one.name, values=one.values, path=one.path)


def _conditions_on_tuned(spec: SweepSpec) -> Iterator[tuple[YamlPath, str, str, str]]:
    """Where the cells would depend on what is chosen for them: place, field, message and hint."""
    assert spec.tune is not None
    names = spec.tune.names
    for index, rule in enumerate(spec.exclude):
        hint = "a rule looks at what tells cells apart"
        yield from ((("exclude", index, name), name, "exclude: cannot look at", hint) for name in names if name in rule)
    for axis in spec.axes:
        path = (*axis.path[:-1], "when")
        hint = "a condition looks at what tells cells apart"
        yield from (((*path, name), name, "when: cannot look at", hint) for name in names if name in axis.when)
    if any(isinstance(value, MatchParams) for axis in spec.all_axes for value in axis.values):
        hint = "widths are matched for each cell, whatever is chosen for it"
        own = [one for one in spec.tune.axes if FIELDS[one.name].section == "model"]
        yield from ((one.path[:3], one.name, "match_params cannot count with", hint) for one in own)


def _search_rules(spec: SweepSpec) -> Iterator[CellRule]:
    """What must hold in every cell that is searched."""
    yield CellRule(("val_fraction",), _has_validation)
    epochs = spec.tune.epochs if spec.tune is not None else None
    if epochs is not None:
        for rule in CELL_RULES:
            if "epochs" in rule.fields:
                yield _in_search(rule, epochs)


def _has_validation(values: Mapping[str, Any]) -> Found:
    if values["val_fraction"] > 0:
        return None
    return (
        "tune: needs validation images, and val_fraction is 0",
        "give val_fraction more than 0; test images choose nothing",
    )


def _in_search(rule: CellRule, epochs: int) -> CellRule:
    """The rule for the schedule of search trials."""

    def check(values: Mapping[str, Any]) -> Found:
        found = rule.problem({**values, "epochs": epochs})
        return found and (f"in the search (epochs of tune:), {found[0]}", found[1])

    return CellRule(rule.fields, check)
