"""`orch gc`: a results root and a policy in; bytes by category out, and freed with --yes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from orchestrator.cli_place import check_root, find_sweep
from orchestrator.errors import UsageError
from orchestrator.results import ResultsDir
from orchestrator.tuning.retention import Category, Findings, Policy, find_garbage, free_garbage
from orchestrator.wording import size_text


def collect_garbage(place: str | None, results: Path, policy: Policy, *, yes: bool, as_json: bool) -> None:
    """Print what `policy` frees; free it where `yes` says so."""
    root, sweep = ResultsDir(results), None
    if place is not None:
        root, sweep = find_sweep(place, results)
        if policy.orphans != "all":
            raise UsageError("--orphans is about the whole root: leave the sweep's name out")
    check_root(root)
    found = (free_garbage if yes else find_garbage)(root, sweep, policy)
    if as_json:
        click.echo(json.dumps(_document(found, policy, yes), indent=2))
    else:
        _print(found, yes)


def _document(found: Findings, policy: Policy, is_freed: bool) -> dict[str, Any]:
    return {
        "freed": is_freed,
        "policy": dataclasses.asdict(policy),
        "bytes": sum(item.num_bytes for item in found.items),
        "categories": _totals(found),
        "paths": [str(item.path) for item in found.items],
        "notes": list(found.notes),
    }


def _totals(found: Findings) -> dict[str, dict[str, int]]:
    items = {category: [item for item in found.items if item.category is category] for category in Category}
    return {
        category.value: {"num": len(those), "bytes": sum(item.num_bytes for item in those)}
        for category, those in items.items()
    }


def _print(found: Findings, is_freed: bool) -> None:
    for name, total in _totals(found).items():
        click.echo(f"{name:<12} {total['num']:>8,} {size_text(total['bytes']):>12}")
    total_bytes = size_text(sum(item.num_bytes for item in found.items))
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    if is_freed:
        click.echo(f"freed {total_bytes}")
    else:
        click.echo(f"would free {total_bytes}; nothing was removed, --yes removes it")
