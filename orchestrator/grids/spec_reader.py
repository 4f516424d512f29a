"""A parsed document in; a `SweepSpec` out, and beside it every problem on the way.

What cannot be read is left out of the spec and named in `Findings.broken`, so that no later check complains about it
again.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar, get_type_hints

from orchestrator.configs import SECTIONS
from orchestrator.grids.axis_reader import read_axes, read_exclude, read_zips
from orchestrator.grids.resources_reader import read_resources
from orchestrator.grids.seeds_reader import read_seeds
from orchestrator.grids.spec_fields import FIELDS
from orchestrator.grids.spec_findings import Findings, show
from orchestrator.grids.sweep_spec import SWEEP_NAME_RULE, Axis, Probe, SweepSpec, Tracking, is_sweep_name
from orchestrator.grids.tune_reader import read_tune

KEYS = ("name", "axes", "zip", "exclude", "seeds", "tune", "model", "data", "train", "resources", "tracking", "probe")
Settings = TypeVar("Settings", Tracking, Probe)


def read_spec(findings: Findings, *, path: str, source: str) -> SweepSpec:
    """The spec as far as it can be read."""
    content, marks = findings.document.value, findings.document.marks
    if not isinstance(content, dict):
        what = "the file is empty" if content is None else f"a spec is a mapping of keys to values, not {show(content)}"
        findings.report((), what, f"keys: {', '.join(KEYS)}")
        findings.is_grid_known = False
        return SweepSpec(name="", source_path=path, source_text=source, marks=marks)
    _check_top_keys(findings, content)
    sections = {section: _read_section(findings, section, content.get(section)) for section in SECTIONS}
    axes = read_axes(findings, content.get("axes"))
    zips = read_zips(findings, content.get("zip"))
    all_axes = (*axes, *(axis for group in zips for axis in group))
    tune = read_tune(findings, content.get("tune"), all_axes)
    _check_given_twice(findings, sections, all_axes)
    tuned = () if tune is None else tune.names
    _check_required(findings, sections, {*tuned, *(axis.name for axis in all_axes)})
    resources, overrides = read_resources(findings, content.get("resources"))
    seeds, seed_rule = read_seeds(findings, content.get("seeds", 1))
    return SweepSpec(
        name=_read_name(findings, content),
        axes=axes,
        zips=zips,
        exclude=read_exclude(findings, content.get("exclude")),
        seeds=seeds,
        seed_rule=seed_rule,
        tune=tune,
        **sections,
        resources=resources,
        resource_overrides=overrides,
        tracking=_read_settings(findings, "tracking", Tracking, content.get("tracking")),
        probe=_read_settings(findings, "probe", Probe, content.get("probe")),
        question=read_question(source),
        source_path=path,
        source_text=source,
        marks=marks,
    )


def read_question(source: str) -> str:
    """Text of the `# Question:` line among the comments that open the file, or nothing."""
    for line in source.removeprefix("\ufeff").splitlines():
        found = re.fullmatch(r"#\s*Question:(.*)", line.strip())
        if found:
            return found[1].strip()
        if line.strip() and not line.startswith("#"):
            break
    return ""


def _check_top_keys(findings: Findings, content: dict[str, Any]) -> None:
    expected = {key: value for key, value in content.items() if key not in FIELDS}
    findings.check_keys((), expected | {"name": None}, KEYS, "the spec")
    for key in content:
        if key in FIELDS and key not in KEYS:
            hint = f"write it under {FIELDS[key].section}:, or as an axis under axes:"
            findings.report((key,), f"{key} does not stand at the top of a spec", hint, key=True)


def _read_name(findings: Findings, content: dict[str, Any]) -> str:
    name = content.get("name")
    if "name" not in content:
        findings.report((), "name: is missing", "the sweep's name; its folder under the results root is called so")
        return ""
    if not isinstance(name, str) or not is_sweep_name(name):
        hint = "; put it in quotes" if isinstance(name, int | float) else ""
        findings.report(("name",), f"{show(name)} is no sweep name", f"allowed: {SWEEP_NAME_RULE}{hint}")
        return ""
    return name


def _read_section(findings: Findings, section: str, value: Any) -> dict[str, Any]:
    content = {} if value is None else findings.mapping((section,), value, f"{section}:")
    if not isinstance(value, dict | None):
        findings.broken.update(field.name for field in FIELDS.values() if field.section == section)
    found: dict[str, Any] = {}
    for key, item in content.items():
        field = findings.field((section, key), key, section=section) if "." not in key else None
        if field is None and "." in key:
            findings.report((section, key), f"unknown field {key!r}", f"names under {section}: have no dot", key=True)
        elif field is not None and field.section != section:
            hint = f"{key} belongs under {field.section}:"
            findings.report((section, key), f"{key} is no field of {section}", hint, key=True)
            findings.broken.add(field.name)
        elif field is not None:
            found.update((field.name, converted) for converted in findings.value((section, key), field, item))
    return found


def _check_given_twice(findings: Findings, sections: dict[str, dict[str, Any]], axes: tuple[Axis, ...]) -> None:
    for axis in axes:
        section = FIELDS[axis.name].section
        if axis.name in sections[section] and not axis.when:
            first = findings.describe_key((section, axis.name))
            message = f"{axis.name} is given under {section}: and is an axis too"
            findings.report(axis.path, message, f"it already stands in {first}; keep one of the two", key=True)


def _check_required(findings: Findings, sections: dict[str, dict[str, Any]], varied: set[str]) -> None:
    written = set(findings.broken) | varied | {name for s in sections.values() for name in s}
    for section in SECTIONS:
        missing = [f for f in FIELDS.values() if f.section == section and f.is_required and f.name not in written]
        findings.broken.update(field.name for field in missing)
        told = ", ".join(field.path for field in missing)
        if len(missing) == 1:
            hint = f"write it under {section}:, or as an axis under axes:; allowed: {missing[0].allowed}"
            findings.report((section,), f"{told} is missing", hint, key=True)
        elif missing:
            hint = f"write them under {section}:, or as axes under axes:"
            findings.report((section,), f"{told} are missing", hint, key=True)


def _read_settings(findings: Findings, key: str, cls: type[Settings], value: Any) -> Settings:
    content = {} if value is None else findings.mapping((key,), value, f"{key}:")
    hints = get_type_hints(cls, include_extras=True)
    findings.check_keys((key,), content, hints, f"{key}:")
    return cls(**findings.settings((key,), content, hints))
