from __future__ import annotations

import dataclasses
import json
from functools import partial

import pytest

from orchestrator import durable, lease
from orchestrator.errors import NewerFileError, ResultsError, UsageError
from orchestrator.record import Attempt, EpochMetrics, Provenance, State, SweepIndex, SweepMember, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.trial import Trial

ORIGIN = Provenance(
    git_commit=None, git_dirty=None, code_fingerprint="f", versions={"torch": "2"}, device="cpu: x", host="h",
    command="orch run", data_fingerprint="d", executor="serial", started_at="t0", ended_at="t1",
)  # fmt: skip


def record_of(trial: Trial, **changes: object) -> TrialRecord:
    record = TrialRecord(
        trial_id=trial.trial_id, state=State.COMPLETE, trial=trial.canonical(), num_params=1, flops=2, num_epochs=2,
        val_loss=0.5, val_acc=0.75, test_loss=0.5, test_acc=0.7, num_test_images=10, weights_sha256="w", diverged=None,
        wall_time_s=3.0, train_time_s=2.0, peak_memory_mib=100.0, num_attempts=1, provenance=ORIGIN,
    )  # fmt: skip
    return dataclasses.replace(record, **changes)  # type: ignore[arg-type]


@pytest.fixture
def folder(results: ResultsDir, tiny_trial: Trial) -> TrialFolder:
    return results.trial(tiny_trial.trial_id)


def write_attempt(folder: TrialFolder, number: int, outcome: str | None) -> None:
    attempt = Attempt(
        number=number, host="h", process=1, device="cpu: x", code_fingerprint="f", versions={}, started_at="t",
        outcome=outcome,
    )  # fmt: skip
    durable.write_sealed_json(folder.attempt_file(number), dataclasses.asdict(attempt))


def test_a_record_reads_back_as_it_was(folder: TrialFolder, tiny_trial: Trial) -> None:
    record = record_of(tiny_trial)
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(record))
    assert folder.read_record() == record


def test_equal_numbers_ignore_where_and_when(tiny_trial: Trial) -> None:
    other = record_of(tiny_trial, wall_time_s=9.0, provenance=dataclasses.replace(ORIGIN, host="elsewhere"))
    assert other.numbers() == record_of(tiny_trial).numbers()
    assert record_of(tiny_trial, test_acc=0.1).numbers() != record_of(tiny_trial).numbers()


def test_a_record_of_a_newer_version_is_refused_with_advice(folder: TrialFolder, tiny_trial: Trial) -> None:
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(record_of(tiny_trial, schema=99)))
    with pytest.raises(NewerFileError, match=r"newer orch \(schema 99, this one reads up to 1\); update"):
        folder.read_record()


def test_a_cut_record_is_work_to_do(folder: TrialFolder, tiny_trial: Trial) -> None:
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(record_of(tiny_trial)))
    folder.record_file.write_bytes(folder.record_file.read_bytes()[:100])
    assert folder.state() is State.WAITING
    with pytest.raises(ResultsError, match=r"record\.json is damaged"):
        folder.read_record()


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([], State.WAITING),
        ([None], State.WAITING),
        (["STOPPED"], State.WAITING),
        (["FAIL"], State.FAIL),
        (["FAIL", None], State.WAITING),
    ],
)
def test_the_state_follows_from_the_attempts(folder: TrialFolder, outcomes: list[str | None], state: State) -> None:
    for number, outcome in enumerate(outcomes, 1):
        write_attempt(folder, number, outcome)
    assert folder.state() is state
    assert folder.num_attempts() == len(outcomes)


def test_a_trial_runs_while_its_attempt_is_held(folder: TrialFolder) -> None:
    write_attempt(folder, 1, None)
    make = partial(Attempt, device="cpu: x", code_fingerprint="f", versions={})
    held = lease.create(folder.attempts, 2, "trial", make)
    assert held is not None
    assert folder.state() is State.RUNNING
    held.end("STOPPED")
    assert folder.state() is State.WAITING


def test_an_attempt_that_a_later_version_wrote_more_into_is_read(folder: TrialFolder) -> None:
    write_attempt(folder, 1, "FAIL")
    content = {**durable.read_sealed_json(folder.attempt_file(1)), "weather": "fine"}
    durable.write_sealed_json(folder.attempt_file(1), content)
    assert [attempt.outcome for attempt in folder.read_attempts()] == ["FAIL"]


def test_metrics_read_back_without_a_torn_last_line(folder: TrialFolder) -> None:
    row = EpochMetrics(epoch=1, train_loss=1.0, val_loss=None, val_acc=None, lr=0.1, wall_time_s=2.0)
    durable.append_line(folder.metrics_file, json.dumps(dataclasses.asdict(row)))
    with folder.metrics_file.open("a") as file:
        file.write('{"epoch": 2')
    assert folder.read_metrics() == [row]


def test_a_damaged_metrics_line_is_named(folder: TrialFolder) -> None:
    durable.write_text(folder.metrics_file, "not json\n")
    with pytest.raises(ResultsError, match=r"metrics\.jsonl:1 is damaged"):
        folder.read_metrics()


def test_an_index_reads_back_as_it_was(results: ResultsDir) -> None:
    member = SweepMember(trial_id="t", cell_id="c", seed=0, axes={"depth": 12, "reattention_last": None})
    index = SweepIndex(name="s", axes=("depth", "reattention_last"), members=(member,), question="why?")
    durable.write_sealed_json(results.sweep("s").trials_file, dataclasses.asdict(index))
    assert results.sweep("s").read_index() == index
    assert results.sweeps() == ["s"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "a..b", "a\nb", "x" * 81, "a b"])
def test_a_name_that_could_leave_the_root_is_refused(results: ResultsDir, name: str) -> None:
    with pytest.raises(UsageError, match="no sweep name"):
        results.sweep(name)


def test_looking_creates_nothing(results: ResultsDir) -> None:
    assert results.sweeps() == []
    assert list(results.trials()) == []
    assert results.trial("x").read_record() is None
    assert not results.root.exists()
