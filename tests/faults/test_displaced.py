"""An attempt that its sweep has given up on, and that runs on all the same, writes nothing more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import claims, durable
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
    durable.write_sealed_json(claims.claim_file(results.sweep("s").runs, number), dataclasses.asdict(claim))


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


WRITERS = (
    "write_bytes", "write_with", "write_text", "write_json", "write_sealed_json", "append_line", "commit_folder",
    "remove_file", "remove_folder", "remove_leftovers",
)  # fmt: skip


class Displacing:
    """Lets a successor claim the trial as soon as its attempt has made the n-th change outside `attempts/`."""

    def __init__(self, results: ResultsDir, trial: Trial, at: int | None) -> None:
        self.results, self.trial, self.at = results, trial, at
        self.folder = results.trial(trial.trial_id)
        self.number, self.depth = 0, 0
        self.before: dict[Path, bytes] | None = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in WRITERS:
            monkeypatch.setattr(durable, name, self._around(getattr(durable, name)))

    def _around(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def counted(path: Path, *rest: Any) -> Any:
            self.depth += 1
            try:
                answer = write(path, *rest)
            finally:
                self.depth -= 1
            is_counted = self.folder.path in path.parents and self.folder.attempts != path.parent
            if self.depth == 0 and is_counted and self.before is None:
                self.number += 1
                if self.number == self.at:
                    self.displace()
            return answer

        return counted

    def displace(self) -> None:
        claim = dataclasses.replace(self.folder.read_attempts()[0], number=2, host="far", machine="elsewhere")
        durable.write_sealed_json(self.folder.attempt_file(2), dataclasses.asdict(claim))
        self.before = snapshot(self.results, self.trial)


def train_displaced(folder: Path, trial: Trial, at: int | None) -> Displacing:
    results = ResultsDir(folder)
    with pytest.MonkeyPatch.context() as patch:
        displacing = Displacing(results, trial, at)
        displacing.install(patch)
        list(run_attempt(trial, settings_for(results, [trial], "serial")))
    return displacing


@pytest.mark.parametrize("end", ["COMPLETE", "DIVERGED"])
def test_an_attempt_displaced_at_any_point_adds_and_changes_nothing_more(
    tiny_trial: Trial, tmp_path: Path, end: str
) -> None:
    trial = tiny_trial
    if end == "DIVERGED":
        trial = dataclasses.replace(trial, train=dataclasses.replace(trial.train, optimizer="sgd", lr=1e30))
    untouched = train_displaced(tmp_path / "untouched", trial, None)
    record = untouched.folder.read_record()
    assert record is not None
    assert record.state == end
    assert untouched.number > (10 if end == "COMPLETE" else 3)
    for at in range(1, untouched.number + 1):
        displaced = train_displaced(tmp_path / str(at), trial, at)
        assert displaced.before is not None
        after = snapshot(displaced.results, trial)
        is_finished = displaced.folder.record_file in displaced.before
        assert after.items() <= displaced.before.items(), f"written after change {at}"
        assert is_finished or after == displaced.before, f"removed after change {at}"


def test_a_worker_whose_run_is_over_stops_with_a_checkpoint(
    results: ResultsDir, tiny_trial: Trial, monkeypatch
) -> None:
    from orchestrator.tuning import stop_file

    monkeypatch.setattr(stop_file, "SECONDS_BETWEEN_LOOKS_AT_RUN", 0.0)
    claim_run(results, 1)
    orphan = run_attempt(tiny_trial, settings_of(results, tiny_trial, 1))
    next(orphan)
    path = claims.claim_file(results.sweep("s").runs, 1)
    durable.write_sealed_json(path, {**durable.read_sealed_json(path), "ended_at": "t"})
    assert end_of(orphan).state is State.WAITING
    folder = results.trial(tiny_trial.trial_id)
    assert folder.read_attempts()[-1].outcome == "STOPPED"
    assert isinstance(folder.read_attempts()[-1], Attempt)
    assert list(folder.checkpoints.iterdir())
