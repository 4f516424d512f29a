"""tuning/worker_deaths.py: what is written into the files of a trial that lost its worker, and what is left alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import durable
from orchestrator.cli_show import show_log
from orchestrator.errors import ResultsError
from orchestrator.failure import FailureKind, next_step
from orchestrator.processes import start_of, this_machine
from orchestrator.record import Attempt, State
from orchestrator.results import ResultsDir
from orchestrator.tuning import worker_deaths
from orchestrator.tuning.attempt import run_attempt
from orchestrator.tuning.events import RunSettings, TrialEnded
from orchestrator.tuning.worker_deaths import Death, end_lost, fail_lost
from tests.tuning.test_executors import settings_for, tiny

GONE = 2**22 + 1
"""No process has such a number."""
DEATH = Death(FailureKind.WORKER_LOST, "its worker died: killed")
TRIAL = "t1"

RAYS_WORDS = """\
The actor died unexpectedly before finishing this task.
\tclass_name: TuneTrial
\tactor_id: 11a2
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: End of file. \
Some common causes include: (1) the process was killed by the OOM killer due to high memory usage
"""
RAYS_WORDS_OF_MEMORY = """\
1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 10.0.0.2) was 4.52GB used
OOM kill reason: Memory usage exceeded threshold
Top 10 memory users: PID	MEM(GB)	COMMAND
21495	1.38	ray::T.train
"""


@pytest.fixture
def settings(results: ResultsDir) -> RunSettings:
    return settings_for(results, [tiny()], "ray_tune", run=("s", 2))


@pytest.fixture
def write(results: ResultsDir) -> Callable[..., None]:
    """Writes an attempt of the run `s 2` whose process of this machine is gone, but for `changes`."""

    def write(number: int = 1, **changes: Any) -> None:
        same = {"host": "h", "process": GONE, "device": "cpu", "code_fingerprint": "c", "versions": {}, "run": "s 2"}
        attempt = Attempt(**{**same, "number": number, "started_at": "t", "machine": this_machine(), **changes})
        durable.write_sealed_json(results.trial(TRIAL).attempt_file(number), dataclasses.asdict(attempt))

    return write


def outcomes(results: ResultsDir) -> list[tuple[str | None, str | None, str | None]]:
    return [(a.outcome, a.failure, a.error) for a in results.trial(TRIAL).read_attempts()]


def test_rays_words_become_a_kind_and_one_line() -> None:
    lost = Death.told(RAYS_WORDS)
    assert lost.kind is FailureKind.WORKER_LOST
    assert lost.error == (
        "its worker died: The actor is dead because its worker process has died. "
        "Worker exit type: SYSTEM_ERROR Worker exit detail: End of file."
    )
    no_memory = Death.told(RAYS_WORDS_OF_MEMORY)
    assert no_memory.kind is FailureKind.HOST_OUT_OF_MEMORY
    assert no_memory.error.endswith("Memory on the node (IP: 10.0.0.2) was 4.52GB used")
    assert Death.told("").error == "its worker died: Ray gives no cause"
    assert "hunter2" not in Death.told("cannot reach https://me:hunter2@host").error


def test_an_open_attempt_of_a_dead_worker_ends_with_the_cause(
    results: ResultsDir, settings: RunSettings, write: Callable[..., None]
) -> None:
    write(1, outcome="FAIL", ended_at="t")
    write(2)
    end_lost(TRIAL, settings, DEATH)
    assert outcomes(results) == [("FAIL", None, None), ("LOST", "worker_lost", DEATH.error)]
    assert DEATH.error in results.trial(TRIAL).log_file(2).read_text()
    assert results.trial(TRIAL).state() is State.WAITING


def test_stacks_beside_it_say_that_it_hung(
    results: ResultsDir, settings: RunSettings, write: Callable[..., None]
) -> None:
    write()
    results.trial(TRIAL).stack_file(1).write_text("Thread 0x1")
    end_lost(TRIAL, settings, DEATH)
    assert outcomes(results) == [("LOST", "hung", DEATH.error)]


@pytest.mark.parametrize(
    "changes",
    [
        {"process": os.getpid(), "process_started": start_of(os.getpid())},
        {"machine": "another"},
        {"run": "s 1"},
        {"run": "other 2"},
        {"run": None},
        {"ended_at": "t", "outcome": "STOPPED"},
    ],
)
def test_what_lives_has_ended_or_is_anothers_is_left_alone(
    results: ResultsDir,
    settings: RunSettings,
    write: Callable[..., None],
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_deaths, "SECONDS_TO_VANISH", 0.1)
    write(**changes)
    before = results.trial(TRIAL).attempt_file(1).read_bytes()
    end_lost(TRIAL, settings, DEATH)
    assert results.trial(TRIAL).attempt_file(1).read_bytes() == before


def test_of_a_process_elsewhere_rays_word_is_taken(
    results: ResultsDir, settings: RunSettings, write: Callable[..., None]
) -> None:
    write(machine="another")
    end_lost(TRIAL, settings, DEATH, lambda process: process == GONE)
    assert outcomes(results) == [("LOST", "worker_lost", DEATH.error)]


def test_a_trial_that_never_began_fails_in_its_files_as_in_the_summary(
    results: ResultsDir, settings: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    death = Death(FailureKind.HOST_OUT_OF_MEMORY, "its worker died 6 times")
    ended = fail_lost(TRIAL, settings, death)
    assert ended == TrialEnded(TRIAL, State.FAIL, error=death.error, failure="host_out_of_memory")
    assert results.trial(TRIAL).state() is State.FAIL
    assert outcomes(results) == [("FAIL", "host_out_of_memory", death.error)]
    show_log(TRIAL, results.root, follow=False, as_json=False)
    assert f"FAIL host_out_of_memory: {death.error}" in capsys.readouterr().out
    assert "resources.cpus" in next_step(ended.failure)


def test_the_end_of_a_lost_trial_is_like_its_last_start_so_that_a_retry_sees_no_change(
    results: ResultsDir, settings: RunSettings, write: Callable[..., None]
) -> None:
    write(device="NVIDIA L4", started_from="2-0", data_fingerprint="d", micro_batch_size=8, deviations=("x",), beat=7)
    end_lost(TRIAL, settings, DEATH)
    fail_lost(TRIAL, settings, Death(FailureKind.CRASH_LOOP, "again and again"))
    lost, failed = results.trial(TRIAL).read_attempts()
    assert (failed.device, failed.code_fingerprint, failed.started_from) == ("NVIDIA L4", "c", "2-0")
    assert (failed.data_fingerprint, failed.micro_batch_size, failed.deviations) == ("d", 8, ("x",))
    assert (failed.outcome, failed.failure, failed.process) == ("FAIL", "crash_loop", os.getpid())
    assert lost.outcome == "LOST"


def test_a_trial_of_another_run_waits_and_a_finished_one_has_ended_as_it_did(
    results: ResultsDir, settings: RunSettings, write: Callable[..., None]
) -> None:
    write(run="other 1")
    assert fail_lost(TRIAL, settings, DEATH) == TrialEnded(TRIAL, State.WAITING)
    assert outcomes(results) == [(None, None, None)]
    attempt = run_attempt(tiny(), settings_for(results, [tiny()], "serial"))
    for _ in attempt:
        pass
    ended = fail_lost(tiny().trial_id, settings, DEATH)
    assert ended.state is State.COMPLETE
    assert ended.record == results.trial(tiny().trial_id).read_record()


def test_a_folder_that_cannot_be_written_ends_the_run_and_not_the_trial(
    settings: RunSettings, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: object) -> None:
        raise ResultsError(f"cannot write {path}: No space left on device")

    write()
    monkeypatch.setattr(durable, "write_sealed_json", full)
    monkeypatch.setattr(durable, "create_sealed_json", full)
    end_lost(TRIAL, settings, DEATH)
    assert "why trial t1 lost its worker is not written down: cannot write" in caplog.text
    ended = fail_lost(TRIAL, settings, DEATH)
    assert ended.state is State.WAITING
    assert "No space left on device" in (ended.not_ready or "")
