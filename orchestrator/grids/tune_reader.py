"""The `tune` key of a document in; ranges with converted ends and the settings of the search out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from orchestrator.grids.spec_fields import Field
from orchestrator.grids.spec_findings import Findings, show
from orchestrator.grids.strict_yaml import YamlPath
from orchestrator.grids.sweep_spec import Axis
from orchestrator.grids.tune_spec import RANGE_KINDS, Range, Tune, TuneSettings

FORMS = (
    "write it as {log_uniform: [low, high]}, {uniform: [low, high]}, {int_uniform: [low, high]} or a list of choices"
)

NEVER_TUNED: Mapping[str, str] = {
    "attention": "attentions are compared, each with values of its own",
    **dict.fromkeys(
        ("name", "id", "num_classes", "val_fraction", "test_fraction"),
        "proposals of a cell must be judged on the same images",
    ),
}
"""Fields that no search may choose, and why."""


def read_tune(findings: Findings, value: Any, axes: tuple[Axis, ...]) -> Tune | None:
    """What `tune:` says, None without it. `axes` are the scientific ones, which no search may choose."""
    if value is None:
        return None
    content = findings.mapping(("tune",), value, "tune:")
    hints = get_type_hints(TuneSettings, include_extras=True)
    findings.check_keys(("tune",), content, ("axes", *hints), "tune:")
    found = findings.settings(("tune",), content, hints)
    if isinstance(value, dict) and "num_trials" not in content:
        findings.report(("tune",), "tune: does not say num_trials", "how many proposals every cell gets", key=True)
    ranges = _read_ranges(findings, content.get("axes"), axes) if isinstance(value, dict) else ()
    tune = Tune(axes=ranges, **found)
    if isinstance(value, dict):
        _check_settings(findings, content, tune)
    return tune


def _check_settings(findings: Findings, content: Mapping[str, Any], tune: Tune) -> None:
    is_told = set(content) >= {"batch_size"} and tune.batch_size is not None
    if is_told and tune.sampler == "quasi_random" and not tune.prune:
        hint = "remove it, or write sampler: tpe"
        findings.report(("tune", "batch_size"), "batch_size says nothing to quasi_random proposals", hint, key=True)
    if tune.epochs is not None and "epochs" in tune.names:
        hint = "keep one of the two"
        findings.report(("tune", "epochs"), "epochs is a nuisance axis and set for the search too", hint, key=True)


def _read_ranges(findings: Findings, value: Any, axes: tuple[Axis, ...]) -> tuple[Range, ...]:
    if not value and not isinstance(value, bool | int | float | str):
        findings.report(("tune", "axes"), "tune: has no axes", f"name a field to choose; {FORMS}", key=True)
        return ()
    content = findings.mapping(("tune", "axes"), value, "axes: of tune:")
    scientific = {axis.name: axis for axis in axes}
    found: dict[str, Range] = {}
    for key, item in content.items():
        path = ("tune", "axes", key)
        field = findings.field(path, key)
        if field is None or not _may_be_tuned(findings, path, field):
            continue
        if field.name in scientific:
            place = scientific[field.name].path
            first = findings.describe_key(place[:-1] if place[-1] == "values" else place)
            message = f"{field.name} is a scientific axis and a nuisance axis too"
            findings.report(path, message, f"it already stands in {first}; keep one of the two", key=True)
            continue
        if field.name in found:
            findings.report(path, f"{field.name} stands twice in axes: of tune:", "keep one of the two", key=True)
            continue
        one = _read_range(findings, path, field, item)
        if one is None:
            findings.broken.add(field.name)
        else:
            found[field.name] = one
    return tuple(found.values())


def _may_be_tuned(findings: Findings, path: YamlPath, field: Field) -> bool:
    if not field.is_hashed:
        message = f"{field.name} changes no number and cannot be tuned"
        findings.report(path, message, f"write it under {field.section}:", key=True)
    elif field.name in NEVER_TUNED:
        findings.report(path, f"{field.name} cannot be tuned", NEVER_TUNED[field.name], key=True)
    else:
        return True
    findings.broken.add(field.name)
    return False


def _read_range(findings: Findings, path: YamlPath, field: Field, value: Any) -> Range | None:
    if isinstance(value, list):
        return _read_choices(findings, path, field, value)
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in RANGE_KINDS:
        what = f"a mapping of {', '.join(value) or 'nothing'}" if isinstance(value, dict) else show(value)
        findings.report(path, f"the range of {field.name} cannot be {what}", FORMS)
        return None
    ((kind, ends),) = value.items()
    path = (*path, kind)
    if not _fits_kind(findings, path, field, kind):
        return None
    if not isinstance(ends, list) or len(ends) != 2:
        findings.report(path, f"{kind} of {field.name} needs its two ends", f"write {{{kind}: [low, high]}}")
        return None
    converted = [findings.value((*path, index), field, end) for index, end in enumerate(ends)]
    if not all(converted):
        return None
    low, high = converted[0][0], converted[1][0]
    if not _are_ends(findings, path, field, kind, low, high):
        return None
    return Range(name=field.name, kind=kind, values=(low, high), path=path)


def _are_ends(findings: Findings, path: YamlPath, field: Field, kind: str, low: Any, high: Any) -> bool:
    if low is None or high is None:
        findings.report(path, f"{kind} of {field.name} needs two numbers", "null may only stand in a list of choices")
    elif low > high:
        findings.report(path, f"the range of {field.name} ends below its start", f"write [{high:g}, {low:g}]")
    elif low == high:
        hint = f"remove it and write {field.name}: {low:g} under {field.section}:"
        findings.report(path, f"the range of {field.name} is one value", hint)
    elif kind == "log_uniform" and low <= 0:
        hint = "give a low end above 0, or write uniform"
        findings.report((*path, 0), f"log_uniform of {field.name} cannot start at {low:g}", hint)
    else:
        return True
    return False


def _fits_kind(findings: Findings, path: YamlPath, field: Field, kind: str) -> bool:
    """Whether the field holds the numbers that `kind` makes."""
    types = {option.get("type") for option in field.type.schema.get("anyOf", [field.type.schema])}
    wanted = "integer" if kind == "int_uniform" else "number"
    if wanted in types:
        return True
    if types & {"integer", "number"}:
        hint = "write int_uniform, or a list of choices" if "integer" in types else "write uniform or log_uniform"
        what = "whole" if "integer" in types else "real"
        findings.report(path, f"{field.name} takes {what} numbers, which {kind} does not make", hint, key=True)
    else:
        findings.report(path, f"{field.name} is no number", "write a list of choices", key=True)
    return False


def _read_choices(findings: Findings, path: YamlPath, field: Field, values: list[Any]) -> Range | None:
    found: dict[Any, None] = {}
    num_problems = len(findings.problems)
    for index, item in enumerate(values):
        for value in findings.value((*path, index), field, item):
            if value in found:
                message = f"{show(value)} stands twice in the choices of {field.name}"
                findings.report((*path, index), message, "keep one of the two")
            found[value] = None
    if len(findings.problems) > num_problems:
        return None
    if len(found) < 2:
        hint = f"give two choices or more; one value alone belongs under {field.section}:"
        findings.report(path, f"the choices of {field.name} leave nothing to choose", hint)
        return None
    return Range(name=field.name, kind="choice", values=tuple(found), path=path)
