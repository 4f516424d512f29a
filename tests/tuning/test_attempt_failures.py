"""What becomes of a trial whose training fails: each kind of failure, injected on the serial executor."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.errors import ClusterError, DataError, DeviceLostError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.training.objective import Objective
from orchestrator.trial import Trial
from orchestrator.tuning import attempt_start
from orchestrator.tuning.events import EpochFinished, RunSettings, TrialEnded, dataset_key
from tests.tuning.test_executors import execute, settings_for, tiny

Fault = Callable[[Objective, torch.Tensor], None]


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], None]:
    """Afterwards each step calls the fault first."""
    original = Objective.__call__

    def put(fault: Fault) -> None:
        def call(self: Objective, images: torch.Tensor, targets: torch.Tensor):
            fault(self, images)
            return original(self, images, targets)

        monkeypatch.setattr(Objective, "__call__", call)

    return put


def no_fault(objective: Objective, images: torch.Tensor) -> None:
    pass


def memory_for(most: int) -> Fault:
    def fault(objective: Objective, images: torch.Tensor) -> None:
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return fault


def losing_the_device(objective: Objective, images: torch.Tensor) -> None:
    raise RuntimeError("CUDA error: unspecified launch failure")


def bug(objective: Objective, images: torch.Tensor) -> None:
    raise ValueError("token=hunter2 has no heads")


def run(results: ResultsDir, trial: Trial, **changes) -> TrialEnded:
    settings = settings_for(results, [trial], "serial", **changes)
    (ended,) = [event for event in execute("serial", [trial], settings) if isinstance(event, TrialEnded)]
    return ended


def of_attention(attention: str) -> Trial:
    return replace(tiny(), model=replace(tiny().model, attention=attention))


def test_memory_that_runs_out_halves_the_micro_batch_and_the_record_says_so(
    results: ResultsDir, inject: Callable[[Fault], None]
) -> None:
    inject(memory_for(40))
    ended = run(results, tiny())
    assert ended.state is State.COMPLETE
    record = results.trial(tiny().trial_id).read_record()
    assert record is not None
    assert record.micro_batch_size == 32
    assert record.deviations == (
        "micro-batch 32 in place of 64, because memory ran out; the optimizer's batch is unchanged",
    )
    assert record.trial == tiny().canonical()


def test_a_later_start_goes_on_with_the_size_that_was_come_down_to(
    results: ResultsDir, inject: Callable[[Fault], None]
) -> None:
    from orchestrator.tuning import serial

    inject(memory_for(40))
    running = serial.execute([tiny()], settings_for(results, [tiny()], "serial"))
    while not isinstance(next(running), EpochFinished):
        pass
    running.close()  # type: ignore[attr-defined]
    sizes: list[int] = []
    inject(lambda objective, images: sizes.append(len(images)))
    run(results, tiny())
    record = results.trial(tiny().trial_id).read_record()
    assert record is not None
    assert max(sizes) == record.micro_batch_size == 32
    assert len(record.deviations) == 1


def test_batch_statistics_fail_with_the_sizes_that_fit_unless_halving_is_asked_for(
    results: ResultsDir, inject: Callable[[Fault], None]
) -> None:
    trial = of_attention("reattention")
    inject(memory_for(40))
    ended = run(results, trial)
    assert (ended.state, ended.failure) == (State.FAIL, "out_of_memory")
    assert "micro_batch_size 32 or less would fit" in (ended.error or "")
    assert results.trial(trial.trial_id).read_attempts()[-1].failure == "out_of_memory"
    assert run(results, trial, resources=Resources(oom="halve")).state is State.COMPLETE
    record = results.trial(trial.trial_id).read_record()
    assert record is not None
    assert record.micro_batch_size == 32


def test_the_hosts_memory_is_another_kind(results: ResultsDir, inject: Callable[[Fault], None]) -> None:
    def fault(objective: Objective, images: torch.Tensor) -> None:
        raise MemoryError("cannot hold another worker")

    inject(fault)
    ended = run(results, tiny())
    assert (ended.state, ended.failure, ended.signature) == (State.FAIL, "host_out_of_memory", None)


def test_a_bug_fails_with_its_traceback_and_without_secrets(
    results: ResultsDir, inject: Callable[[Fault], None]
) -> None:
    inject(bug)
    ended = run(results, tiny())
    attempt = results.trial(tiny().trial_id).read_attempts()[-1]
    assert (ended.state, ended.failure, attempt.failure) == (State.FAIL, "own_code", "own_code")
    assert "in bug" in (attempt.traceback or "")
    assert "hunter2" not in f"{attempt.traceback} {attempt.error} {ended.error}"
    assert ended.signature is not None
    assert "ValueError" in ended.signature


def test_a_lost_device_is_no_outcome_and_a_new_start_goes_on(
    results: ResultsDir, inject: Callable[[Fault], None]
) -> None:
    inject(losing_the_device)
    with pytest.raises(DeviceLostError, match="unspecified launch failure"):
        run(results, tiny())
    folder = results.trial(tiny().trial_id)
    attempt = folder.read_attempts()[-1]
    assert (attempt.outcome, attempt.failure, folder.state()) == ("LOST", "device_lost", State.WAITING)
    inject(no_fault)
    assert run(results, tiny()).state is State.COMPLETE


def test_start_after_start_that_comes_no_further_is_given_up_and_a_retry_begins_anew(
    results: ResultsDir, inject: Callable[[Fault], None]
) -> None:
    inject(losing_the_device)
    for _ in range(3):
        with pytest.raises(DeviceLostError):
            run(results, tiny())
    ended = run(results, tiny())
    assert (ended.state, ended.failure) == (State.FAIL, "crash_loop")
    assert "3 starts in a row from the start died" in (ended.error or "")
    with pytest.raises(DeviceLostError):
        run(results, tiny())
    inject(no_fault)
    assert run(results, tiny()).state is State.COMPLETE


def test_a_divergence_keeps_the_last_finite_checkpoint(results: ResultsDir, inject: Callable[[Fault], None]) -> None:
    from orchestrator.training.checkpoint import CheckpointStore

    steps: list[None] = []

    def fault(objective: Objective, images: torch.Tensor) -> None:
        steps.append(None)
        if len(steps) > 25:
            images.fill_(float("nan"))

    inject(fault)
    assert run(results, tiny()).state is State.DIVERGED
    checkpoint = CheckpointStore(results.trial(tiny().trial_id).checkpoints).load_newest()
    assert checkpoint is not None
    assert checkpoint.name == "1-0"


HANGING = """
import sys, time
from pathlib import Path
from orchestrator.grids.sweep_spec import Resources
from orchestrator.training.objective import Objective
from tests.tuning.test_executors import *
from orchestrator.training.loop import train
next(train(tiny()))  # what is imported and read once takes its time on a busy machine
original, steps = Objective.__call__, []
def hanging_for_ever(*of_step):
    steps.append(None)
    return original(*of_step) if len(steps) < 3 else time.sleep(600)
Objective.__call__ = hanging_for_ever
results = ResultsDir(Path(sys.argv[1]))
execute("serial", [tiny()], settings_for(results, [tiny()], "serial", resources=Resources(hang_minutes=0.1)))
"""


@pytest.mark.slow
def test_a_hang_ends_the_process_with_its_stacks_and_the_next_start_goes_on(results: ResultsDir) -> None:
    command = [sys.executable, "-c", HANGING, str(results.root)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=root)
    folder = results.trial(tiny().trial_id)
    attempt = folder.read_attempts()[-1]
    assert (done.returncode, attempt.outcome, attempt.failure) == (3, "LOST", "hung"), done.stderr
    assert "no step for 0.1 minutes" in done.stderr
    assert "`orch run` again goes on" in done.stderr
    assert "hanging_for_ever" in folder.stack_file(1).read_text()
    assert folder.state() is State.WAITING
    assert run(results, tiny()).state is State.COMPLETE


def test_stacks_without_a_word_are_a_hang_too(results: ResultsDir, inject: Callable[[Fault], None]) -> None:
    inject(losing_the_device)
    folder = results.trial(tiny().trial_id)
    for number in (1, 2, 3):
        with pytest.raises(DeviceLostError):
            run(results, tiny())
        left_without_a_word(folder, number)
    assert run(results, tiny()).failure == "hung"


def left_without_a_word(folder, number: int) -> None:
    import dataclasses

    from orchestrator import durable

    attempt = folder.read_attempts()[number - 1]
    durable.write_sealed_json(
        folder.attempt_file(number), dataclasses.asdict(replace(attempt, outcome="LOST", failure=None))
    )
    folder.stack_file(number).write_text("Thread 0x1 (most recent call first):\n")


def test_a_resumption_on_another_device_is_written_down(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.tuning import attempt, serial

    settings: RunSettings = settings_for(results, [tiny()], "serial")
    running = serial.execute([tiny()], settings)
    while not isinstance(next(running), EpochFinished):
        pass
    running.close()  # type: ignore[attr-defined]
    monkeypatch.setattr(attempt, "device_name", lambda device: "cpu: another one")
    run(results, tiny())
    record = results.trial(tiny().trial_id).read_record()
    assert record is not None
    assert record.deviations[0].startswith("went on from 1-0 on cpu: another one, before on cpu: ")


@pytest.mark.parametrize(("asked", "is_used"), [("auto", False), (False, False), (True, True)])
def test_graphs_are_made_where_they_are_asked_for(asked: str | bool, is_used: bool, results: ResultsDir) -> None:
    settings = settings_for(results, [tiny()], "serial", resources=Resources(graphs=asked))  # type: ignore[arg-type]
    assert attempt_start.training_settings(tiny(), settings).graphs is is_used


def test_a_node_of_a_cluster_with_other_data_trains_nothing_and_the_trial_waits(results: ResultsDir) -> None:
    from orchestrator.training.data import prepare_data

    trial = tiny()
    with pytest.raises(
        ClusterError, match=r"has other content \(fingerprint .* there, d at the driver\); copy the"
    ) as told:
        run(results, trial, address="10.0.0.1:6379")
    assert f"node {socket.gethostname()}: dataset 'digits'" in str(told.value)
    folder = results.trial(trial.trial_id)
    (attempt,) = folder.read_attempts()
    assert (attempt.outcome, attempt.data_fingerprint, folder.state()) == ("STOPPED", None, State.WAITING)
    assert not folder.metrics_file.exists()
    same = {dataset_key(trial): prepare_data(trial.data)}
    assert run(results, trial, address="10.0.0.1:6379", data_fingerprints=same).state is State.COMPLETE


def test_a_node_of_a_cluster_without_the_data_is_named_and_the_trial_waits(
    results: ResultsDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*given: object) -> None:
        raise DataError("no folder /data/digits")

    monkeypatch.setattr(attempt_start, "load_data", missing)
    with pytest.raises(ClusterError, match="cannot be read: no folder /data/digits; copy the files anew, or take the"):
        run(results, tiny(), address="10.0.0.1:6379")
    assert results.trial(tiny().trial_id).state() is State.WAITING
