"""Attempts that take turns in one process: each with its own files, and each ending for itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from orchestrator.grids.sweep_spec import Probe, Resources
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.training.stacked import Stack
from orchestrator.trial import Trial
from orchestrator.tuning import serial
from orchestrator.tuning.attempt import run_attempt
from orchestrator.tuning.events import EpochFinished, Event, TrialEnded, TrialStarted
from orchestrator.tuning.forecast import forecast
from orchestrator.tuning.packed import run_pack
from orchestrator.tuning.pruning import PruneRule
from tests.tuning.test_executors import execute, settings_for

TOLERANCE = 1e-4


def seeds_of(trial: Trial, num: int = 3, **recipe: object) -> list[Trial]:
    return [replace(trial, seed=seed, train=replace(trial.train, **recipe)) for seed in range(num)]  # type: ignore[arg-type]


def run(results: ResultsDir, trials: Sequence[Trial], pack: int = 3, **changes: object) -> list[Event]:
    changes = {"resources": Resources(pack=pack), "probe": Probe(images=8, skip_images=8), **changes}
    return list(serial.execute(trials, settings_for(results, trials, "serial", **changes)))


def states(events: Sequence[Event]) -> list[State]:
    return [event.state for event in events if isinstance(event, TrialEnded)]


def test_each_seed_leaves_the_files_of_a_trial_alone(tiny_trial: Trial, results: ResultsDir, tmp_path) -> None:
    trials = seeds_of(tiny_trial, ema_decay=0.9, clip_grad=1.0, mixup=0.2)
    events = run(results, trials)
    alone = ResultsDir(tmp_path / "alone")
    run(alone, trials, pack=1)
    assert states(events) == [State.COMPLETE] * 3
    assert [event.trial_id for event in events[:3]] == [trial.trial_id for trial in trials]
    assert all(isinstance(event, TrialStarted) for event in events[:3])
    assert sum(isinstance(event, EpochFinished) for event in events) == 6
    for trial in trials:
        folder, other = results.trial(trial.trial_id), alone.trial(trial.trial_id)
        assert {path.name for path in folder.path.rglob("*")} == {path.name for path in other.path.rglob("*")}
        record, expected = folder.read_record(), other.read_record()
        assert record is not None
        assert expected is not None
        assert (record.num_packed, expected.num_packed) == (3, 1)
        assert record.test_loss == pytest.approx(expected.test_loss, rel=TOLERANCE)
        for row, other_row in zip(folder.read_metrics(), other.read_metrics(), strict=True):
            assert row.numbers() == pytest.approx(other_row.numbers(), rel=TOLERANCE)
        log = folder.log_file(1).read_text()
        assert trial.trial_id in log
        assert not any(mate.trial_id in log for mate in trials if mate is not trial)
        assert log.count(" INFO epoch ") == 2
        assert " COMPLETE" in log


def test_what_was_packed_prices_nothing(tiny_trial: Trial, results: ResultsDir) -> None:
    trials = seeds_of(tiny_trial, num=2)
    run(results, trials)
    records = [results.trial(trial.trial_id).read_record() for trial in trials]
    settings = settings_for(results, trials, "serial")
    rough = forecast(trials, records, settings)  # type: ignore[arg-type]
    assert all(expected.is_rough for expected in rough.values())
    counted = [replace(record, num_packed=1) for record in records if record is not None]
    assert [forecast(trials, counted, settings)[trial.trial_id].is_rough for trial in trials] == [False, False]


def test_a_seed_that_is_finished_is_taken_as_it_is(tiny_trial: Trial, results: ResultsDir) -> None:
    trials = seeds_of(tiny_trial)
    run(results, [trials[1]])
    events = run(results, trials)
    assert states(events) == [State.COMPLETE] * 3
    packed = [results.trial(trial.trial_id).read_record().num_packed for trial in trials]  # type: ignore[union-attr]
    assert packed == [2, 1, 2]


def test_a_stop_saves_every_seed_and_the_next_run_goes_on(tiny_trial: Trial, results: ResultsDir, tmp_path) -> None:
    trials = seeds_of(tiny_trial, epochs=4)
    events: list[Event] = []
    settings = settings_for(results, trials, "serial", resources=Resources(pack=3))
    for event in serial.execute(trials, settings):
        events.append(event)
        if isinstance(event, EpochFinished):
            settings.stop_file.touch()
    assert states(events) == [State.WAITING] * 3
    settings.stop_file.unlink()
    assert states(run(results, trials[:1], probe=None)) == [State.COMPLETE]
    assert states(run(results, trials, probe=None)) == [State.COMPLETE] * 3
    whole = ResultsDir(tmp_path / "whole")
    run(whole, trials, pack=1, probe=None)
    for trial in trials:
        record, expected = (root.trial(trial.trial_id).read_record() for root in (results, whole))
        assert record is not None
        assert expected is not None
        assert record.test_loss == pytest.approx(expected.test_loss, rel=TOLERANCE)
        assert len(results.trial(trial.trial_id).read_metrics()) == 4


def test_a_seed_that_is_pruned_leaves_the_others_as_they_are(tiny_trial: Trial, results: ResultsDir) -> None:
    trials = seeds_of(tiny_trial)
    rule: PruneRule = {1: 1.1}
    events = run(results, trials, prune={trials[0].trial_id: rule})
    ended = {event.trial_id: event.state for event in events if isinstance(event, TrialEnded)}
    assert [ended[trial.trial_id] for trial in trials] == [State.PRUNED, State.COMPLETE, State.COMPLETE]
    rows = [[row.num_packed for row in results.trial(trial.trial_id).read_metrics()] for trial in trials]
    assert rows == [[3], [3, 2], [3, 2]]


def test_where_a_common_step_fails_every_seed_goes_on_alone(
    tiny_trial: Trial, results: ResultsDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Stack.train_step

    def failing(stack: Stack, batches: object, epoch: int, step: int) -> torch.Tensor:
        if (epoch, step) == (2, 3):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(stack, batches, epoch, step)  # type: ignore[arg-type]

    monkeypatch.setattr(Stack, "train_step", failing)
    trials = seeds_of(tiny_trial)
    assert states(run(results, trials)) == [State.COMPLETE] * 3
    for trial in trials:
        folder = results.trial(trial.trial_id)
        assert [row.num_packed for row in folder.read_metrics()] == [3, 1]
        assert "OutOfMemoryError: CUDA out of memory; the trial goes on alone" in folder.log_file(1).read_text()
        record = folder.read_record()
        assert record is not None
        assert (record.num_packed, record.num_attempts, record.micro_batch_size) == (3, 1, None)


def test_a_driver_that_goes_away_leaves_every_attempt_stopped(tiny_trial: Trial, results: ResultsDir) -> None:
    trials = seeds_of(tiny_trial)
    events = run_pack(trials, settings_for(results, trials, "serial"))
    for event in events:
        if isinstance(event, EpochFinished):
            break
    events.close()  # type: ignore[attr-defined]
    for trial in trials:
        (attempt,) = results.trial(trial.trial_id).read_attempts()
        assert attempt.outcome == "STOPPED"


def test_an_attempt_alone_never_waits(tiny_trial: Trial, results: ResultsDir) -> None:
    attempt = run_attempt(tiny_trial, settings_for(results, [tiny_trial], "serial"))
    row = next(attempt)
    assert row is not None
    assert row.num_packed == 1
    attempt.close()


@pytest.mark.slow
def test_on_ray_a_pack_is_trained_by_one_worker(tiny_trial: Trial, results: ResultsDir) -> None:
    deeper = replace(tiny_trial, model=replace(tiny_trial.model, depth=3))
    wrong = replace(tiny_trial, model=replace(tiny_trial.model, attention="no_such_package.attn:Missing"))
    trials = [replace(cell, seed=seed) for seed in range(2) for cell in (tiny_trial, deeper, wrong)]
    events = execute("ray_tune", trials, settings_for(results, trials, "ray_tune", resources=Resources(pack=2)))
    ended = {event.trial_id: event.state for event in events if isinstance(event, TrialEnded)}
    assert [ended[trial.trial_id] for trial in trials] == [State.COMPLETE, State.COMPLETE, State.FAIL] * 2
    assert {event.trial_id for event in events if isinstance(event, TrialStarted)} == ended.keys()
    assert sum(isinstance(event, EpochFinished) for event in events) == 8
    for first, second in ((trials[0], trials[3]), (trials[1], trials[4])):
        attempts = [results.trial(trial.trial_id).read_attempts() for trial in (first, second)]
        assert len({attempt.process for (attempt,) in attempts}) == 1
        for trial in (first, second):
            record = results.trial(trial.trial_id).read_record()
            assert record is not None
            assert (record.num_packed, record.provenance.executor) == (2, "ray_tune")
