"""The `resources:` of a document in; what every trial takes of the machine, and rules for other cells, out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from orchestrator.grids.axis_reader import read_conditions
from orchestrator.grids.spec_findings import Findings, show
from orchestrator.grids.strict_yaml import YamlPath
from orchestrator.grids.sweep_spec import ResourceOverride, Resources

SECTION = ("resources",)
RULE_FORM = "write each rule as '- {when: {field: value}, gpus: 0.25}'"


def read_resources(findings: Findings, value: Any) -> tuple[Resources, tuple[ResourceOverride, ...]]:
    """The section and its rules, as far as they can be read."""
    content = {} if value is None else findings.mapping(SECTION, value, "resources:")
    hints = get_type_hints(Resources, include_extras=True)
    findings.check_keys(SECTION, content, (*hints, "overrides"), "resources:")
    settings = findings.settings(SECTION, content, hints)
    _check_limits(findings, SECTION, settings)
    return Resources(**settings), _read_overrides(findings, content.get("overrides"), hints)


def _read_overrides(findings: Findings, value: Any, hints: Mapping[str, Any]) -> tuple[ResourceOverride, ...]:
    path: YamlPath = (*SECTION, "overrides")
    if value is None:
        return ()
    if not isinstance(value, list):
        findings.report(path, f"overrides must be a list of rules, not {show(value)}", RULE_FORM)
        return ()
    rules = [_read_rule(findings, (*path, index), item, hints) for index, item in enumerate(value)]
    return tuple(rule for rule in rules if rule is not None)


def _read_rule(findings: Findings, path: YamlPath, value: Any, hints: Mapping[str, Any]) -> ResourceOverride | None:
    what = "a rule of overrides:"
    content = findings.mapping(path, value, what)
    if not isinstance(value, dict):
        return None
    findings.check_keys(path, content, ("when", *hints), what)
    if "when" not in content:
        findings.report(path, f"{what} does not say when it applies", RULE_FORM)
    elif not hints.keys() & content.keys():
        findings.report(path, f"{what} changes nothing", f"give at least one of {', '.join(hints)}")
    settings = findings.settings(path, content, hints)
    _check_limits(findings, path, settings)
    when = read_conditions(findings, (*path, "when"), content["when"], "when:") if "when" in content else {}
    return ResourceOverride(when=when, resources=settings) if when and settings else None


def _check_limits(findings: Findings, path: YamlPath, settings: Mapping[str, Any]) -> None:
    workers, gpus = settings.get("workers", 1), settings.get("gpus", 0)
    if workers > 1 and gpus not in (0, 1):
        hint = "cpus and gpus are those of each worker, and a worker computes on one GPU; write gpus: 1 or gpus: 0"
        findings.report((*path, "gpus"), f"gpus cannot be {gpus:g} beside workers: {workers}", hint)
    pack = settings.get("pack", "auto")
    if workers > 1 and pack not in ("auto", 1):
        hint = "either several processes train one trial, or one process trains several"
        findings.report((*path, "pack"), f"pack cannot be {pack} beside workers: {workers}", hint)
    if gpus > 1 and not float(gpus).is_integer():
        findings.report((*path, "gpus"), f"gpus cannot be {gpus:g}", "above 1 only whole GPUs are allowed")
