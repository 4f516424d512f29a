"""An attempt that its sweep has given up on, and that runs on all the same, writes nothing more."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from pathlib import Path

from orchestrator import durable, lease
from orchestrator.record import Attempt, EpochMetrics, Run, State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning import serial
from orchestrator.tuning.attempt import run_attempt
from orchestrator.tuning.events import EpochFinished, RunSettings, TrialEnded, run_name
from tests.faults.crashing import files
from tests.tuning.test_executors import settings_for


def claim_run(results: ResultsDir, number: int) -> None:
    claim = Run(
        number=number, host="far", process=1, started_at="t", machine="elsewhere", lease_s=600.0, command="",
        executor="serial",
    )  # fmt: skip
    durable.write_sealed_json(lease.claim_file(results.sweep("s").runs, number), dataclasses.asdict(claim))


def settings_of(results: ResultsDir, trial: Trial, run: int) -> RunSettings:
    return dataclasses.replace(settings_for(results, [trial], "serial"), run=("s", run))


def snapshot(results: ResultsDir, trial: Trial) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in files(results.trial(trial.trial_id).path)}


def end_of(attempt: Generator[EpochMetrics, None, TrialEnded]) -> TrialEnded:
    """What an attempt that is left to itself returns."""
    ended: list[TrialEnded] = []

    def collect() -> Generator[EpochMetrics, None, None]:
        ended.append((yield from attempt))

    assert len(list(collect())) < 2
    return ended[0]


def test_the_successor_trains_to_the_end_and_the_displaced_one_changes_no_byte(
    results: ResultsDir, tiny_trial: Trial
) -> None:
    claim_run(results, 1)
    displaced = run_attempt(tiny_trial, settings_of(results, tiny_trial, 1))
    next(displaced)
    claim_run(results, 2)
    events = list(serial.execute([tiny_trial], settings_of(results, tiny_trial, 2)))
    (ended,) = [event for event in events if isinstance(event, TrialEnded)]
    assert ended.state is State.COMPLETE
    assert sum(isinstance(event, EpochFinished) for event in events) == 1, "the first epoch was kept"
    folder = results.trial(tiny_trial.trial_id)
    before, attempts = (
        snapshot(results, tiny_trial),
        [path.read_bytes() for path in sorted(folder.attempts.glob("*.json"))],
    )
    assert end_of(displaced).state is State.WAITING
    assert snapshot(results, tiny_trial) == before
    assert [path.read_bytes() for path in sorted(folder.attempts.glob("*.json"))] == attempts
    assert [attempt.run for attempt in folder.read_attempts()] == [run_name("s", 1), run_name("s", 2)]
    record = folder.read_record()
    assert record is not None
    assert record.num_attempts == 2


def test_a_worker_whose_run_is_over_stops_with_a_checkpoint(
    results: ResultsDir, tiny_trial: Trial, monkeypatch
) -> None:
    from orchestrator.tuning import stop_file

    monkeypatch.setattr(stop_file, "SECONDS_BETWEEN_LOOKS_AT_RUN", 0.0)
    claim_run(results, 1)
    orphan = run_attempt(tiny_trial, settings_of(results, tiny_trial, 1))
    next(orphan)
    path = lease.claim_file(results.sweep("s").runs, 1)
    durable.write_sealed_json(path, {**durable.read_sealed_json(path), "ended_at": "t"})
    assert end_of(orphan).state is State.WAITING
    folder = results.trial(tiny_trial.trial_id)
    assert folder.read_attempts()[-1].outcome == "STOPPED"
    assert isinstance(folder.read_attempts()[-1], Attempt)
    assert list(folder.checkpoints.iterdir())
