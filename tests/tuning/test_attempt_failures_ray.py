"""Failures that end a worker's process, injected into attentions of one's own that Ray Tune trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.events import TrialEnded
from orchestrator.tuning.ray_nodes import Nodes
from tests.tuning.test_executors import execute, settings_for, tiny

ATTENTIONS = """
import os, time
from pathlib import Path
from orchestrator.models.softmax_attention import SelfAttention

STEPS = []

def is_due(name, which):
    STEPS.append(None)
    marker = Path(__file__).parent / f"{name}-{which}"
    if len(STEPS) % 97 or marker.exists():
        return False
    marker.touch()
    return True

class LosesItsDevice(SelfAttention):
    def forward(self, x, context=None):
        if is_due("lost", 1):
            raise RuntimeError("CUDA error: unspecified launch failure")
        return super().forward(x, context)

class Hangs(SelfAttention):
    def forward(self, x, context=None):
        if is_due("hung", 1):
            time.sleep(600)
        return super().forward(x, context)

class DiesAlways(SelfAttention):
    def forward(self, x, context=None):
        os._exit(9)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lost_devices_and_hangs_start_again_elsewhere_and_a_crash_loop_is_given_up(
    results: ResultsDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faulty_attentions.py").write_text(ATTENTIONS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    lost, hung, dying = trials = [of_attention(name) for name in ("LosesItsDevice", "Hangs", "DiesAlways")]
    settings = settings_for(results, trials, "ray_tune", resources=Resources(hang_minutes=0.2))
    failed: list[str] = []
    monkeypatch.setattr(Nodes, "attempt_failed", lambda self, node_id: failed.append(node_id))
    events = execute("ray_tune", trials, settings)
    ended = {event.trial_id: event for event in events if isinstance(event, TrialEnded)}
    assert {ended[trial.trial_id].state for trial in (lost, hung)} == {State.COMPLETE}
    assert attempts_of(results, lost) == [("LOST", "device_lost"), ("COMPLETE", None)]
    assert attempts_of(results, hung) == [("LOST", "hung"), ("COMPLETE", None)]
    assert "faulty_attentions.py" in results.trial(hung.trial_id).stack_file(1).read_text()
    processes = {attempt.process for attempt in results.trial(lost.trial_id).read_attempts()}
    assert len(processes) == 2
    assert (ended[dying.trial_id].state, ended[dying.trial_id].failure) == (State.FAIL, "crash_loop")
    assert attempts_of(results, dying) == [("LOST", "worker_lost")] * 3 + [("FAIL", "crash_loop")]
    first = results.trial(dying.trial_id).read_attempts()[0]
    assert "its worker died: The actor is dead because its worker process has died" in (first.error or "")
    assert (first.error or "") in results.trial(dying.trial_id).log_file(1).read_text()
    assert len(failed) == 5, "each start that was lost counts against its node, the lost device too"


def of_attention(name: str) -> Trial:
    return replace(tiny(), model=replace(tiny().model, attention=f"faulty_attentions:{name}"))


def attempts_of(results: ResultsDir, trial: Trial) -> list[tuple[str | None, str | None]]:
    return [(attempt.outcome, attempt.failure) for attempt in results.trial(trial.trial_id).read_attempts()]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_trial_whose_workers_the_memory_monitor_ends_fails_for_want_of_memory(
    results: ResultsDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    failed: list[str] = []
    monkeypatch.setattr(Nodes, "attempt_failed", lambda self, node_id: failed.append(node_id))
    trial = tiny()
    events = execute("ray_tune", [trial], settings_for(results, [trial], "ray_tune"))
    (ended,) = [event for event in events if isinstance(event, TrialEnded)]
    assert (ended.state, ended.failure) == (State.FAIL, "host_out_of_memory")
    folder = results.trial(trial.trial_id)
    assert folder.state() is State.FAIL
    last = folder.read_attempts()[-1]
    assert (last.outcome, last.failure, last.error) == ("FAIL", "host_out_of_memory", ended.error)
    assert (ended.error or "") in folder.log_file(last.number).read_text()
    assert failed == [], "it says nothing against the node"
