from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial

import pytest

from orchestrator import lease
from orchestrator.errors import DataError, LockedError
from orchestrator.record import Run, State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning import serial
from orchestrator.tuning.events import Event, RunSettings, TrialEnded, TrialStarted
from orchestrator.tuning.runner import RunOptions, find_executor
from orchestrator.tuning.stop_file import is_stop_asked
from orchestrator.tuning.survey import survey
from orchestrator.tuning.sweep import run_sweep, select_trials
from tests.tuning.sweeps import spec_and_grid, write_record

SERIAL = RunOptions(executor="serial")


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.phases: list[str] = []

    def start(self, index, standings, to_run) -> None:
        self.to_run = list(to_run)

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def waiting(self, expected) -> None:
        pass

    def event(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes no time: an executor that only writes records."""

    def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
        for trial in trials:
            if is_stop_asked(settings.stop_file):
                return
            yield TrialStarted(trial.trial_id)
            fingerprint = next(iter(settings.data_fingerprints.values()))
            record = write_record(ResultsDir(settings.results_root), trial, data_fingerprint=fingerprint)
            yield TrialEnded(trial.trial_id, State.COMPLETE, record)

    monkeypatch.setattr(serial, "execute", execute)


@pytest.mark.usefixtures("instant")
def test_a_run_trains_one_seed_of_every_cell_first_and_of_equal_seeds_the_longest(results: ResultsDir) -> None:
    spec, grid = spec_and_grid()
    ears = Ears()
    summary = run_sweep(spec, grid, results, SERIAL, [ears])
    assert (summary.num_trials, summary.num_finished, summary.num_reused, summary.exit_code) == (8, 8, 0, 0)
    assert [trial.seed for trial in ears.to_run] == [0] * 4 + [1] * 4
    assert [trial.model.depth for trial in ears.to_run] == [2, 2, 1, 1] * 2
    assert results.sweep("tiny").spec_file.read_text() == spec.source_text
    again = run_sweep(spec, grid, results, SERIAL)
    assert (again.num_finished, again.num_reused) == (8, 8)


@pytest.mark.usefixtures("instant")
def test_counts_add_up_whatever_happened(results: ResultsDir) -> None:
    spec, grid = spec_and_grid()
    write_record(results, grid.trials[0], state=State.DIVERGED, test_acc=None, data_fingerprint="x")
    with pytest.raises(DataError):
        run_sweep(spec, grid, results, SERIAL)
    results.trial(grid.trials[0].trial_id).record_file.unlink()
    summary = run_sweep(spec, grid, results, SERIAL)
    parts = (summary.num_finished, summary.num_failed, summary.num_diverged, summary.num_unfinished)
    assert sum(parts) == summary.num_trials


@pytest.mark.usefixtures("instant")
def test_two_sweeps_that_overlap_share_trials(results: ResultsDir) -> None:
    run_sweep(*spec_and_grid(), results, SERIAL)
    from tests.tuning.sweeps import TEXT

    spec, grid = spec_and_grid(TEXT.replace("name: tiny", "name: wider").replace("[1, 2]", "[1, 2, 3]"))
    assert run_sweep(spec, grid, results, SERIAL).num_reused == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("instant")
def test_a_signal_stops_the_run_and_gives_its_code(results: ResultsDir, number: int) -> None:
    class Killer(Ears):
        def event(self, event: Event) -> None:
            if isinstance(event, TrialEnded) and len(self.events) == 1:
                os.kill(os.getpid(), number)
            super().event(event)

    before = signal.getsignal(number)
    summary = run_sweep(*spec_and_grid(), results, SERIAL, [Killer()])
    assert (summary.num_finished, summary.num_unfinished, summary.exit_code) == (1, 7, 128 + number)
    assert signal.getsignal(number) is before
    assert not results.sweep("tiny").stop_file.exists()
    assert run_sweep(*spec_and_grid(), results, SERIAL).num_reused == 1


def test_a_held_sweep_is_left_alone(results: ResultsDir) -> None:
    make = partial(Run, command="orch run", executor="serial")
    folder = results.sweep("tiny").runs
    with lease.hold(folder, "sweep 'tiny'", Run, make), pytest.raises(LockedError, match="number 1"):
        run_sweep(*spec_and_grid(), results, SERIAL)
    assert not results.sweep("tiny").trials_file.exists()


def test_what_is_due_depends_on_the_options(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    _, grid = spec_and_grid()
    done, other, diverged, *rest = grid.trials
    write_record(results, done)
    write_record(results, other, code_fingerprint="other")
    write_record(results, diverged, state=State.DIVERGED, test_acc=None)
    standings = survey(grid, results, "tiny")
    assert set(select_trials(standings, SERIAL)) == set(rest)
    again = select_trials(standings, RunOptions(executor="serial", retrain_changed=True))
    assert set(again) == {other, *rest}


@pytest.mark.usefixtures("instant")
def test_a_dataset_that_changed_is_refused_before_anything_is_trained(results: ResultsDir) -> None:
    spec, grid = spec_and_grid()
    write_record(results, grid.trials[0], data_fingerprint="another")
    with pytest.raises(DataError, match=r"fingerprint another, now [0-9a-f]+"):
        run_sweep(spec, grid, results, SERIAL)
    assert sum(1 for _ in results.trials()) == 1


def test_an_executor_is_found_by_its_name() -> None:
    assert find_executor("serial") is serial.execute
