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
    alive = [node for node in nodes if node["Alive"]]
    sizes = [_size(node) for node in alive]
    too_large: dict[Resources, dict[str, Trial]] = {}
    for trial in trials:
        needs = settings.resources_of(trial)
        _check_whole_gpus(trial, needs)
        if num_that_fit(needs, alive) == 0:
            too_large.setdefault(needs, {}).setdefault(trial.cell_id, trial)
    if not too_large:
        return
    told = "; ".join(_describe(needs, list(cells.values())) for needs, cells in too_large.items())
    missing = (
        "no node has that" if all(needs.workers == 1 for needs in too_large) else "the nodes have no place for that"
    )
    raise ClusterError(f"{told}, and {missing}; {_describe_largest(sizes)}; ask for less under resources:")


def num_that_fit(needs: Resources, nodes: Sequence[Mapping[str, Any]]) -> int:
    """How many trials of these needs can run at a time; workers of one trial may be on several nodes."""
    return sum(_num_on(node, needs) for node in nodes if node["Alive"]) // needs.workers


def _num_on(node: Mapping[str, Any], needs: Resources) -> int:
    """Of one node, a worker counting as a trial; a share of a GPU is one of a single GPU."""
    cpus, gpus = _size(node)
    by_cpus = _how_often(cpus, needs.cpus)
    if needs.gpus == 0:
        return by_cpus
    by_gpus = int(gpus) * _how_often(1.0, needs.gpus) if needs.gpus < 1 else _how_often(gpus, needs.gpus)
    return min(by_cpus, by_gpus)


def _how_often(there: float, need: float) -> int:
    """Ray counts ten-thousandths, so that five fifths are one."""
    return round(10_000 * there) // round(10_000 * need)


def num_places(trials: Sequence[Trial], settings: RunSettings, nodes: Sequence[Mapping[str, Any]]) -> int:
    """How many of `trials` run at a time; where their needs differ, by the share of the cluster that they take."""
    shares = [1.0 / max(1, num_that_fit(settings.resources_of(trial), nodes)) for trial in trials]
    return max(1, round(len(shares) / sum(shares))) if shares else 1


def _check_whole_gpus(trial: Trial, needs: Resources) -> None:
    """Two workers cannot share a GPU, and one uses no more than one.

    Raises:
        ClusterError: section and rules together come to that.
    """
    if needs.workers > 1 and needs.gpus not in (0.0, 1.0):
        raise ClusterError(
            f"trial {trial.label} asks for {needs.workers} workers of {needs.gpus:g} GPUs each, and a worker computes "
            "on one GPU of its own; write gpus: 1 or gpus: 0 beside workers under resources:"
        )


def _size(node: Mapping[str, Any]) -> tuple[float, float]:
    return float(node["Resources"].get("CPU", 0)), float(node["Resources"].get("GPU", 0))


def _describe(needs: Resources, cells: Sequence[Trial]) -> str:
    names = [trial.label.rpartition("-s")[0] for trial in cells[:MAX_NAMED]]
    more = f" and {len(cells) - MAX_NAMED} more cells" if len(cells) > MAX_NAMED else ""
    asked = _in_words(needs.cpus, needs.gpus)
    if needs.workers > 1:
        asked = f"{needs.workers} workers of {asked} each"
    return f"a trial of {', '.join(names)}{more} asks for {asked}"


def _describe_largest(sizes: Sequence[tuple[float, float]]) -> str:
    largest = {max(sizes), max(sizes, key=lambda size: (size[1], size[0]))} if sizes else set()
    return "the largest: " + ", or ".join(_in_words(*size) for size in sorted(largest, reverse=True))


def _in_words(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs and {gpus:g} GPUs"
