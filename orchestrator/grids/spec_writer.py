"""A `SweepSpec` in; YAML that reads back as the same spec out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from orchestrator.grids.strict_yaml import dump
from orchestrator.grids.sweep_spec import Axis, MatchParams, Probe, Resources, SweepSpec, Tracking
from orchestrator.grids.tune_spec import Tune, TuneSettings

Settings: TypeAlias = Resources | Tracking | Probe


def dump_spec(spec: SweepSpec) -> str:
    """`spec` as YAML; `loads_spec` of it is equal to `spec`. Comments but the question are lost."""
    content: dict[str, Any] = {"name": spec.name}
    if spec.axes:
        content["axes"] = {axis.name: _axis(axis) for axis in spec.axes}
    if spec.zips:
        content["zip"] = [{axis.name: _axis(axis) for axis in group} for group in spec.zips]
    if spec.exclude:
        content["exclude"] = [_conditions(rule) for rule in spec.exclude]
    content["seeds"] = _seeds(spec)
    if spec.tune is not None:
        content["tune"] = _tune(spec.tune)
    content |= {section: dict(fields) for section, fields in spec.sections.items() if fields}
    content |= _resources(spec) | _changed("tracking", spec.tracking, Tracking())
    content |= _changed("probe", spec.probe, Probe())
    header = f"# Question: {spec.question}\n" if spec.question else ""
    return header + dump(content)


def _seeds(spec: SweepSpec) -> Any:
    count = len(spec.seeds)
    if spec.seed_rule is not None:
        until = {"ci_half_width": spec.seed_rule.ci_half_width}
        return {"min": count, "max": spec.seed_rule.max, "until": until}
    return count if spec.seeds == tuple(range(count)) else list(spec.seeds)


def _tune(tune: Tune) -> dict[str, Any]:
    settings = {f.name: getattr(tune, f.name) for f in dataclasses.fields(TuneSettings)}
    changed = {f.name for f in dataclasses.fields(TuneSettings) if settings[f.name] != f.default} | {"num_trials"}
    axes = {axis.name: axis.written for axis in tune.axes}
    return {"axes": axes, **{name: value for name, value in settings.items() if name in changed}}


def _axis(axis: Axis) -> Any:
    values = [_value(value) for value in axis.values]
    return {"values": values, "when": _conditions(axis.when)} if axis.when else values


def _value(value: Any) -> Any:
    return {"match_params": dict(value.reference)} if isinstance(value, MatchParams) else value


def _conditions(rule: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {name: allowed[0] if len(allowed) == 1 else list(allowed) for name, allowed in rule.items()}


def _resources(spec: SweepSpec) -> dict[str, Any]:
    content = _changed("resources", spec.resources, Resources())
    rules = [{"when": _conditions(rule.when), **rule.resources} for rule in spec.resource_overrides]
    return {"resources": content.get("resources", {}) | {"overrides": rules}} if rules else content


def _changed(key: str, settings: Settings, default: Settings) -> dict[str, Any]:
    content, usual = dataclasses.asdict(settings), dataclasses.asdict(default)
    changed = {name: _plain(value) for name, value in content.items() if value != usual[name]}
    return {key: changed} if changed else {}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
