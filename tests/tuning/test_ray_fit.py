"""ray_fit.py: what no node can hold is refused by name, before anything starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import ClusterError
from orchestrator.grids.sweep_spec import ResourceOverride, Resources
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.ray_fit import check_fits, num_that_fit
from tests.tuning.test_executors import settings_for


def node(cpus: float, gpus: float = 0, *, alive: bool = True) -> dict[str, object]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus} if gpus else {"CPU": cpus}}


def deep(trial: Trial, depth: int, seed: int = 0) -> Trial:
    return replace(trial, model=replace(trial.model, depth=depth), seed=seed)


def test_the_cells_and_the_largest_nodes_are_named(results: ResultsDir, tiny_trial: Trial) -> None:
    trials = [deep(tiny_trial, depth, seed) for depth in (2, 4, 6) for seed in (0, 1)]
    rule = ResourceOverride(when={"depth": (4, 6)}, resources={"gpus": 8})
    settings = settings_for(results, trials, "ray_tune", resources=Resources(cpus=2), resource_overrides=(rule,))
    with pytest.raises(ClusterError) as caught:
        check_fits(trials, settings, [node(64), node(16, 4), node(8, 4), node(8, 16, alive=False)])
    assert str(caught.value) == (
        "a trial of d4-self-w16, d6-self-w16 asks for 2 CPUs and 8 GPUs, and no node has that; "
        "the largest: 64 CPUs and 0 GPUs, or 16 CPUs and 4 GPUs; ask for less under resources:"
    )
    check_fits(trials, settings, [node(2, 8)])


def test_cpus_and_gpus_must_be_on_one_node(results: ResultsDir, tiny_trial: Trial) -> None:
    settings = settings_for(results, [tiny_trial], "ray_tune", resources=Resources(cpus=4, gpus=1))
    with pytest.raises(ClusterError, match="4 CPUs and 1 GPUs, and no node has that"):
        check_fits([tiny_trial], settings, [node(2, 8), node(64)])


def test_many_cells_are_counted(results: ResultsDir, tiny_trial: Trial) -> None:
    trials = [deep(tiny_trial, depth) for depth in range(1, 9)]
    with pytest.raises(ClusterError, match=r"d5-self-w16 and 3 more cells asks"):
        check_fits(trials, settings_for(results, trials, "ray_tune"), [node(0)])


def test_workers_may_be_on_several_nodes(results: ResultsDir, tiny_trial: Trial) -> None:
    needs = Resources(cpus=4, gpus=1, workers=4)
    nodes = [node(8, 4), node(64, 2), node(64)]
    assert num_that_fit(needs, nodes) == 1
    assert num_that_fit(Resources(cpus=4, workers=4), nodes) == (2 + 16 + 16) // 4
    settings = settings_for(results, [tiny_trial], "ray_tune", resources=needs)
    check_fits([tiny_trial], settings, nodes)
    with pytest.raises(ClusterError, match="asks for 4 workers of 4 CPUs and 1 GPUs each, and the nodes have no place"):
        check_fits([tiny_trial], settings, nodes[1:])


@pytest.mark.parametrize(("gpus", "num"), [(0.2, 5), (0.3, 3), (0.1, 10), (1.0, 1), (0.5, 2), (0.7, 1)])
def test_a_share_of_a_gpu_is_one_of_a_single_gpu(gpus: float, num: int) -> None:
    assert num_that_fit(Resources(gpus=gpus), [node(64, 1)]) == num
    assert num_that_fit(Resources(gpus=gpus), [node(96, 8), node(96, 2)]) == 10 * num
    assert num_that_fit(Resources(cpus=16, gpus=gpus), [node(64, 8)]) == 4


def test_workers_that_would_share_a_gpu_are_refused(results: ResultsDir, tiny_trial: Trial) -> None:
    rule = ResourceOverride(when={"depth": (2,)}, resources={"workers": 2})
    settings = settings_for(
        results, [tiny_trial], "ray_tune", resources=Resources(gpus=0.5), resource_overrides=(rule,)
    )
    with pytest.raises(ClusterError, match=r"2 workers of 0\.5 GPUs each, .* write gpus: 1 or gpus: 0"):
        check_fits([tiny_trial], settings, [node(64, 8)])
