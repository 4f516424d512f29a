"""Trials in; a refusal of those that no node can ever hold, because Ray would wait for ever, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings

MAX_NAMED = 5
"""Cells that one message names."""


def check_fits(trials: Sequence[Trial], settings: RunSettings, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Refuse resources that no node has, before anything starts.

    Args:
        nodes: as `ray.nodes()` tells them.

    Raises:
        ClusterError: naming the cells and the largest nodes.
    """
    sizes = [_size(node) for node in nodes if node["Alive"]]
    too_large: dict[Resources, dict[str, Trial]] = {}
    for trial in trials:
        needs = settings.resources_of(trial)
        if not any(cpus >= needs.cpus and gpus >= needs.gpus for cpus, gpus in sizes):
            too_large.setdefault(needs, {}).setdefault(trial.cell_id, trial)
    if not too_large:
        return
    told = "; ".join(_describe(needs, list(cells.values())) for needs, cells in too_large.items())
    raise ClusterError(f"{told}, and no node has that; {_describe_largest(sizes)}; ask for less under resources:")


def _size(node: Mapping[str, Any]) -> tuple[float, float]:
    return float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0))


def _describe(needs: Resources, cells: Sequence[Trial]) -> str:
    names = [trial.label.rpartition("-s")[0] for trial in cells[:MAX_NAMED]]
    more = f" and {len(cells) - MAX_NAMED} more cells" if len(cells) > MAX_NAMED else ""
    return f"a trial of {', '.join(names)}{more} asks for {_in_words(needs.cpus, needs.gpus)}"


def _describe_largest(sizes: Sequence[tuple[float, float]]) -> str:
    largest = {max(sizes), max(sizes, key=lambda size: (size[1], size[0]))} if sizes else set()
    return "the largest: " + ", or ".join(_in_words(*size) for size in sorted(largest, reverse=True))


def _in_words(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs and {gpus:g} GPUs"
