"""The `axes`, `zip` and `exclude` keys of a document in; axes and rules with converted values out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.grids.spec_fields import Field, find_field
from orchestrator.grids.spec_findings import Findings, show
from orchestrator.grids.strict_yaml import YamlPath
from orchestrator.grids.sweep_spec import Axis, MatchParams

CONDITIONAL = ("values", "when")
AXIS_FORMS = "write an axis as a list, or as {values: [...], when: {field: value}}"


def read_axes(findings: Findings, value: Any) -> tuple[Axis, ...]:
    """The axes that multiply."""
    content = {} if value is None else findings.mapping(("axes",), value, "axes:")
    found = [_read_axis(findings, ("axes", key), key, item) for key, item in content.items()]
    return _distinct(findings, [axis for axis in found if axis is not None], {})


def read_zips(findings: Findings, value: Any) -> tuple[tuple[Axis, ...], ...]:
    """The groups of axes that advance together: one mapping, or a list of them."""
    if value is None:
        return ()
    groups = [(("zip", index), item) for index, item in enumerate(value)] if isinstance(value, list) else None
    places = _axis_places(findings)
    found = []
    for path, item in groups if groups is not None else [(("zip",), value)]:
        found.append(_distinct(findings, _read_group(findings, path, item), places))
    return tuple(group for group in found if group)


def read_exclude(findings: Findings, value: Any) -> tuple[Mapping[str, tuple[Any, ...]], ...]:
    """The rules in order."""
    if value is None:
        return ()
    if not isinstance(value, list):
        message = f"exclude: must be a list of rules, not {show(value)}"
        findings.report(("exclude",), message, "write each rule as '- {field: value}'")
        findings.is_grid_known = False
        return ()
    items = enumerate(value)
    return tuple(read_conditions(findings, ("exclude", index), item, "a rule of exclude:") for index, item in items)


def read_conditions(findings: Findings, path: YamlPath, value: Any, what: str) -> dict[str, tuple[Any, ...]]:
    """Fields and the values each may have."""
    num_problems = len(findings.problems)
    content = findings.mapping(path, value, what)
    if isinstance(value, dict) and not value:
        findings.report(path, f"{what} is empty", "name at least one field and its value")
    found: dict[str, tuple[Any, ...]] = {}
    for key, item in content.items():
        field = findings.field((*path, key), key)
        if field is None:
            continue
        if not field.is_hashed:
            hint = "name fields that make another trial"
            findings.report((*path, key), f"{key} changes no number and cannot tell cells apart", hint, key=True)
        elif field.name in found:
            findings.report((*path, key), f"{field.name} stands twice in {what}", "keep one of the two", key=True)
        else:
            found[field.name] = findings.values((*path, key), field, item)
    findings.is_grid_known &= len(findings.problems) == num_problems
    return found


def _read_group(findings: Findings, path: YamlPath, value: Any) -> list[Axis]:
    """The axes of a group; none, and all of them broken, where they cannot advance together."""
    content = findings.mapping(path, value, "a group of zip:")
    axes = [_read_zipped(findings, (*path, key), key, item) for key, item in content.items()]
    lengths = {key: len(item) for key, item in content.items() if isinstance(item, list)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        findings.report(path, "zipped axes must be equally long", told, key=True)
    whole = [axis for axis in axes if axis is not None]
    if len(whole) == len(axes) and len({len(axis.values) for axis in whole}) == 1:
        return whole
    findings.broken.update(field.name for key in content if (field := find_field(key)) is not None)
    return []


def _read_zipped(findings: Findings, path: YamlPath, key: str, value: Any) -> Axis | None:
    if not isinstance(value, dict):
        return _read_axis(findings, path, key, value)
    findings.report(path, "a zipped axis is a plain list", "conditions (when:) stand under axes:")
    return None


def _read_axis(findings: Findings, path: YamlPath, key: str, value: Any) -> Axis | None:
    field = findings.field(path, key)
    if field is None:
        return None
    if not field.is_hashed:
        hint = f"write it under {field.section}:"
        findings.report(path, f"{key} changes no number and cannot be an axis", hint, key=True)
        return None
    when: dict[str, tuple[Any, ...]] = {}
    if isinstance(value, dict) and "match_params" not in value:
        findings.check_keys(path, value, CONDITIONAL, f"axis {key}")
        if "when" in value:
            when = read_conditions(findings, (*path, "when"), value["when"], f"when: of {key}")
        if "values" not in value:
            findings.report(path, f"axis {key} has no values", AXIS_FORMS)
            findings.broken.add(field.name)
            return None
        path, value = (*path, "values"), value["values"]
    values = _read_values(findings, path, field, value)
    return Axis(name=field.name, values=values, when=when, path=path) if values else None


def _read_values(findings: Findings, path: YamlPath, field: Field, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        hint = f"{AXIS_FORMS}; one value alone belongs under {field.section}:"
        findings.report(path, f"axis {field.name} cannot be {show(value)}", hint)
    elif not value:
        findings.report(path, f"axis {field.name} is empty", "give at least one value, or remove the axis")
    else:
        items = enumerate(value)
        return tuple(found for index, item in items for found in _read_item(findings, (*path, index), field, item))
    findings.broken.add(field.name)
    return ()


def _read_item(findings: Findings, path: YamlPath, field: Field, item: Any) -> tuple[Any, ...]:
    if not isinstance(item, dict):
        return findings.value(path, field, item)
    num_problems = len(findings.problems)
    if field.name != "embed_dim":
        findings.report(path, f"{field.name} cannot be a mapping", f"allowed: {field.allowed}")
    elif list(item) != ["match_params"]:
        hint = f"allowed: {field.allowed}, or {{match_params: {{depth: 32, embed_dim: 48}}}}"
        findings.report(path, f"embed_dim cannot be a mapping of {', '.join(item) or 'nothing'}", hint)
    else:
        reference = _read_reference(findings, (*path, "match_params"), item["match_params"])
        if len(findings.problems) == num_problems:
            return (MatchParams(reference),)
    findings.broken.add(field.name)
    return ()


def _read_reference(findings: Findings, path: YamlPath, value: Any) -> dict[str, Any]:
    content = findings.mapping(path, value, "match_params")
    found: dict[str, Any] = {}
    for key, item in content.items():
        field = findings.field((*path, key), key, section="model")
        if field is None:
            continue
        if field.section != "model" or field.name == "attention":
            hint = "the reference differs in fields of model; its attention is the cell's own"
            findings.report((*path, key), f"match_params cannot take {key}", hint, key=True)
            continue
        found.update((field.name, converted) for converted in findings.value((*path, key), field, item))
    if isinstance(value, dict) and not {"embed_dim", "model.embed_dim"} & content.keys():
        findings.report(path, "match_params does not say embed_dim", "name the width of the reference", key=True)
    return found


def _axis_places(findings: Findings) -> dict[str, YamlPath]:
    """Where each axis under `axes:` has its key."""
    content = findings.document.value.get("axes")
    keys = list(content) if isinstance(content, dict) else []
    return {field.name: ("axes", key) for key in keys if (field := find_field(key)) is not None}


def _distinct(findings: Findings, axes: list[Axis], places: dict[str, YamlPath]) -> tuple[Axis, ...]:
    """The axes without those whose field is an axis already; `places` learns where each stands."""
    found = []
    for axis in axes:
        key_path = axis.path[:-1] if axis.path[-1] == "values" else axis.path
        if axis.name in places:
            first = findings.describe_key(places[axis.name])
            message = f"{axis.name} is an axis twice"
            findings.report(key_path, message, f"it already stands in {first}; keep one of the two", key=True)
        else:
            places[axis.name] = key_path
            found.append(axis)
    return tuple(found)
