"""What stands under `seeds:` in; the seeds that every cell has, and the rule by which cells get more, out."""

from __future__ import annotations

from typing import Any, get_type_hints

from orchestrator.grids.spec_findings import Findings, show
from orchestrator.grids.sweep_spec import SeedRule
from orchestrator.grids.tune_spec import SEARCH_SEEDS

MAX_SEEDS = 10_000
MAX_SEED = 2**63 - 1
MIN_OF_RULE = 2
"""A rule looks at spreads, which one seed does not have."""
ALLOWED = (
    f"allowed: a number of seeds from 1 to {MAX_SEEDS:,}, a list of different whole numbers >= 0, "
    "or {min: 3, max: 10, until: {ci_half_width: 0.003}}"
)


def read_seeds(findings: Findings, value: Any) -> tuple[tuple[int, ...], SeedRule | None]:
    """The seeds of every cell, and the rule for more where there is one."""
    if isinstance(value, list):
        return _read_list(findings, value), None
    if isinstance(value, dict):
        return _read_rule(findings, value)
    count = _as_whole(value)
    if count is None or not 1 <= count <= MAX_SEEDS:
        findings.report(("seeds",), f"seeds cannot be {show(value)}", ALLOWED)
        return (0,), None
    return tuple(range(count)), None


def _read_list(findings: Findings, values: list[Any]) -> tuple[int, ...]:
    seeds: dict[int, int] = {}
    for index, value in enumerate(values):
        seed = _as_whole(value)
        if seed is None or not 0 <= seed <= MAX_SEED:
            findings.report(("seeds", index), f"a seed cannot be {show(value)}", ALLOWED)
        elif seed in seeds:
            findings.report(("seeds", index), f"seed {seed} stands twice", "replicates need different seeds")
        elif seed in SEARCH_SEEDS:
            kept = f"{SEARCH_SEEDS[0]} to {SEARCH_SEEDS[-1]} are kept for search trials (tune:)"
            findings.report(("seeds", index), f"seed {seed} cannot be measured", f"{kept}; take another")
        else:
            seeds[seed] = index
    if not values:
        findings.report(("seeds",), "the list of seeds is empty", ALLOWED)
    return tuple(seeds) or (0,)


def _read_rule(findings: Findings, content: dict[Any, Any]) -> tuple[tuple[int, ...], SeedRule | None]:
    findings.check_keys(("seeds",), content, ("min", "max", "until"), "seeds:")
    bounds = {name: _read_bound(findings, name, content) for name in ("min", "max")}
    width = _read_width(findings, content)
    least, most = bounds["min"], bounds["max"]
    if least is None or most is None or width is None:
        return (0,), None
    if most <= least:
        hint = f"write seeds: {least}, or give max: more than {least}"
        findings.report(("seeds", "max"), f"max: {most} leaves nothing to add to min: {least}", hint)
    return tuple(range(least)), SeedRule(max=most, ci_half_width=width)


def _read_bound(findings: Findings, name: str, content: dict[Any, Any]) -> int | None:
    allowed = f"allowed: a whole number from {MIN_OF_RULE} to {MAX_SEEDS:,}"
    if name not in content:
        findings.report(("seeds",), f"{name}: is missing", allowed, key=True)
        return None
    count = _as_whole(content[name])
    if count is None or not MIN_OF_RULE <= count <= MAX_SEEDS:
        findings.report(("seeds", name), f"{name} cannot be {show(content[name])}", allowed)
        return None
    return count


def _read_width(findings: Findings, content: dict[Any, Any]) -> float | None:
    example = "write until: {ci_half_width: 0.003} for intervals of 0.3 points to either side"
    if "until" not in content:
        findings.report(("seeds",), "until: is missing", example, key=True)
        return None
    until = findings.mapping(("seeds", "until"), content["until"], "until:")
    hints = {"ci_half_width": get_type_hints(SeedRule, include_extras=True)["ci_half_width"]}
    findings.check_keys(("seeds", "until"), until, hints, "until:")
    found = findings.settings(("seeds", "until"), until, hints)
    if isinstance(content["until"], dict) and "ci_half_width" not in until:
        findings.report(("seeds", "until"), "ci_half_width: is missing", example, key=True)
    width = found.get("ci_half_width")
    return None if width is None else float(width)


def _as_whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)
