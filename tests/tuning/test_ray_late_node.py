"""A node with other data that gets a trial before the driver has looked at it is closed, and the run goes on."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import ClusterError, UnfitNodeError
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.tuning import ray_trial, ray_tune
from orchestrator.tuning.ray_guard import MARK
from orchestrator.tuning.ray_trial import PACK, TuneTrial
from tests.faults.command_line import command
from tests.tuning.other_data.sitecustomize import OTHER
from tests.tuning.test_executors import settings_for, tiny
from tests.tuning.test_ray_tune_cluster import GATES, ONE_OF, STEP_IN_EPOCH_3, held
from tests.tuning.three_nodes import cluster_of

WHY = "node far: dataset 'digits' has other content"


def refused() -> Iterator[Any]:
    raise UnfitNodeError(WHY, "copy the files anew")
    yield


def test_a_worker_tells_that_its_node_does_not_fit_and_leaves_it_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(ray_trial.time, "sleep", slept.append)
    worker = TuneTrial.__new__(TuneTrial)
    worker.events, worker.not_ended, worker.unfit, worker.node = refused(), {"t"}, None, "n"
    assert worker.step() == {"orch_unfit": WHY, "orch_node": "n", "done": False}
    assert slept == []
    with pytest.raises(ClusterError, match="has other content; copy the files anew"):
        worker.step()
    assert slept == [ray_trial.SECONDS_TO_CLOSE]


def test_the_driver_closes_the_node_and_takes_the_leaving_for_no_death(results: ResultsDir) -> None:
    told: list[tuple[str, ...]] = []
    nodes: Any = SimpleNamespace(
        attempt_refused=lambda *words: told.append(words), attempt_failed=lambda node: told.append((node,))
    )
    relay = ray_tune._Relay(queue.Queue(), nodes, settings_for(results, [tiny()], "ray_tune", run=("s", 1)))
    trial = SimpleNamespace(
        config={PACK: json.dumps({"trial_ids": ["t"]})}, run_metadata=SimpleNamespace(num_failures=1), error_file=None
    )
    relay.on_trial_result(1, [], trial, {"orch_unfit": WHY, "orch_node": "n", "done": False})
    assert told == [("n", WHY)]
    assert trial.run_metadata.num_failures == 1  # what hops from node to node ends one day
    relay.on_trial_recover(1, [], trial)
    assert (told, dict(relay.kinds), relay.events.qsize()) == ([("n", WHY)], {}, 0)
    relay.on_trial_recover(1, [], trial)
    assert relay.kinds["t"] != set()  # the next time a worker died


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_a_cluster_the_run_goes_on_where_the_data_is(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(ONE_OF + "seeds: 3\n")
    (tmp_path / "gates.py").write_text(GATES % (str(tmp_path), STEP_IN_EPOCH_3, MARK))
    gate, results = tmp_path / "shut", ResultsDir(tmp_path / "results")
    gate.touch()
    with (
        cluster_of(1) as cluster,
        command(tmp_path, "run", "spec.yaml", "--json", "--address", cluster.address) as run,
    ):
        run.wait_for(lambda: list(held(run).values()) == [2], 400)
        late = cluster.add(1, PYTHONPATH=str(Path(__file__).parent / "other_data"))
        run.wait_for(lambda: any("ray::Occupant" in name for name in late.names()), 400)
        gate.unlink()
        assert run.end(400) == 0, run.said()
        told = [event["text"] for event in run.events("phase")]
    closed = [text for text in told if "gets no more trials: " in text]
    assert len(closed) == 1
    assert f"dataset 'digits' has other content (fingerprint {OTHER} there" in closed[0]
    attempts = [attempt for trial in results.trials() for attempt in trial.read_attempts()]
    assert [trial.state() for trial in results.trials()] == [State.COMPLETE] * 3
    stopped = [attempt for attempt in attempts if attempt.outcome != "COMPLETE"]
    assert {(attempt.outcome, attempt.data_fingerprint) for attempt in stopped} == {("STOPPED", None)}
    assert len(attempts) == 3 + len(stopped)
