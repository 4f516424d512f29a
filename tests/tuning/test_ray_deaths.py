"""tuning/ray_deaths.py: what Ray tells of dead workers, on fakes; Ray itself is in test_attempt_failures_ray.py."""

from __future__ import annotations

import json
import queue
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.failure import FailureKind
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.tuning import ray_tune
from orchestrator.tuning.events import TrialEnded
from orchestrator.tuning.ray_deaths import death_in, is_dead_actor
from orchestrator.tuning.ray_environment import ray
from orchestrator.tuning.ray_trial import PACK
from tests.tuning.test_executors import settings_for, tiny

LOW_ON_MEMORY = "1 worker(s) were killed due to the node running low on memory.\nOOM kill reason: usage"
DEAD = "The actor died unexpectedly.\n\tpid: 7\nThe actor died because its node has died."


def fail(trial: Any, told: str) -> None:
    """As Tune keeps an error."""
    with Path(trial.error_file).open("a+") as file:
        file.write(f"Failure # 1 (occurred at 2026-11-26)\n{told}\n")


@pytest.fixture
def trial(tmp_path: Path) -> Any:
    actor = SimpleNamespace(_actor_id=bytes([1]))
    return SimpleNamespace(
        config={PACK: json.dumps({"trial_ids": ["a", "b"]})},
        error_file=str(tmp_path / "error.txt"),
        temporary_state=SimpleNamespace(ray_actor=actor),
        run_metadata=SimpleNamespace(num_failures=0),
    )


@pytest.fixture
def relay(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(ray_tune, "node_of_actor", lambda actor: f"node of {actor}")
    failed: list[str] = []
    nodes: Any = SimpleNamespace(attempt_failed=failed.append, failed=failed, attempt_succeeded=lambda node: None)
    return ray_tune._Relay(queue.Queue(), nodes, settings_for(results, [tiny()], "ray_tune", run=("s", 1)))


def die(relay: Any, trial: Any, told: str, *, for_good: bool = False) -> None:
    relay.on_trial_start(0, [], trial)
    fail(trial, told)
    (relay.on_trial_error if for_good else relay.on_trial_recover)(0, [], trial)


def ends(relay: Any) -> list[TrialEnded]:
    found = [relay.events.get() for _ in range(relay.events.qsize())]
    return [event for event in found if isinstance(event, TrialEnded)]


def test_the_last_error_that_tune_keeps_counts(trial: Any) -> None:
    fail(trial, LOW_ON_MEMORY)
    assert death_in(trial).kind is FailureKind.HOST_OUT_OF_MEMORY
    fail(trial, DEAD)
    assert death_in(trial).kind is FailureKind.WORKER_LOST
    assert death_in(trial).error == "its worker died: The actor died because its node has died."


@pytest.mark.parametrize(
    ("found", "is_dead"),
    [({"State": "DEAD", "Pid": 7}, True), ({"State": "ALIVE", "Pid": 7}, False), ({"State": "DEAD", "Pid": 8}, False)],
)
def test_a_process_is_dead_once_ray_says_so_of_its_actor(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], is_dead: bool
) -> None:
    monkeypatch.setattr(ray._private.state, "actors", lambda actor_id: found)
    assert is_dead_actor("01", 7) is is_dead
    assert not is_dead_actor(None, 7)


def test_the_memory_monitor_says_nothing_against_a_node(relay: Any, trial: Any) -> None:
    die(relay, trial, LOW_ON_MEMORY)
    assert relay.nodes.failed == []
    die(relay, trial, DEAD)
    assert relay.nodes.failed == ["node of 01"]


@pytest.mark.parametrize(
    ("told", "kind"),
    [([LOW_ON_MEMORY] * 2, "host_out_of_memory"), ([DEAD, LOW_ON_MEMORY], "crash_loop"), ([DEAD] * 2, "crash_loop")],
)
def test_a_trial_that_never_began_fails_with_the_kind_of_all_its_deaths(
    relay: Any, trial: Any, results: ResultsDir, told: list[str], kind: str
) -> None:
    die(relay, trial, told[0])
    assert ends(relay) == []
    die(relay, trial, told[1], for_good=True)
    assert [(end.trial_id, end.state, end.failure) for end in ends(relay)] == [
        (trial_id, State.FAIL, kind) for trial_id in ("a", "b")
    ]
    for trial_id in ("a", "b"):
        assert results.trial(trial_id).state() is State.FAIL
        (attempt,) = results.trial(trial_id).read_attempts()
        assert attempt.failure == kind
        assert "its worker died 6 times without finishing an epoch" in (attempt.error or "")


def test_deaths_before_the_last_progress_do_not_count(relay: Any, trial: Any) -> None:
    die(relay, trial, DEAD)
    relay.on_trial_result(0, [], trial, {"orch_events": [TrialEnded("b", State.FAIL)], "orch_node": "n"})
    die(relay, trial, LOW_ON_MEMORY, for_good=True)
    assert [(end.trial_id, end.failure) for end in ends(relay)] == [("b", None), ("a", "host_out_of_memory")]
