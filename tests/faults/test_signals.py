"""Ctrl-C, SIGTERM, SIGHUP: what is saved, the exit code, and the words at the end."""

from __future__ import annotations

import os
import shlex
import signal
import time
from pathlib import Path

import pytest

from orchestrator.record import State
from orchestrator.results import ResultsDir
from tests.faults.command_line import Command, command

LONG = """\
name: long
axes: {depth: [1]}
seeds: 2
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 1.0}
data: {name: digits}
train: {epochs: 100000, batch_size: 64, lr: 2.0e-3}
probe: {enabled: false}
tracking: {mlflow: false}
"""
SECONDS_AT_ONCE = 10.0
"""For a process to leave on a busy machine, saving nothing."""
EXECUTORS = ["serial", pytest.param("ray_tune", marks=pytest.mark.slow)]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "long.yaml").write_text(LONG)
    return tmp_path


def first_epoch(running: Command) -> None:
    running.wait_for(lambda: running.events("epoch"))


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(other, marks=pytest.mark.slow) for other in (signal.SIGTERM, signal.SIGHUP))],
)
def test_one_signal_stops_at_the_next_step_with_a_checkpoint(folder: Path, executor: str, number: int) -> None:
    if executor == "ray_tune" and number != signal.SIGTERM:
        pytest.skip("the driver handles all three alike; one start of Ray is enough")
    with command(folder, "run", "long.yaml", "--executor", executor, "--json") as running:
        first_epoch(running)
        running.signal(number)
        assert running.end() == 128 + number
        assert "everything is saved, go on with: orch run long.yaml" in running.said()
        assert "Traceback" not in running.said()
        assert running.events("summary")[0]["num_unfinished"] == 2
        assert running.wait_until_alone() == {}
    trials = [trial for trial in ResultsDir(folder / "results").trials() if trial.read_attempts()]
    for trial in trials:
        assert trial.state() is State.WAITING
        assert trial.read_attempts()[-1].outcome == "STOPPED"
        newest = max(
            (path.name for path in trial.checkpoints.iterdir()), key=lambda name: tuple(map(int, name.split("-")))
        )
        assert int(newest.split("-")[0]) >= len(trial.read_metrics()), "no finished epoch is lost"
    assert trials
    assert not ResultsDir(folder / "results").sweep("long").stop_file.exists()


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "ray_tune"])
def test_two_signals_leave_at_once_and_what_was_finished_is_there(folder: Path, executor: str) -> None:
    (folder / "long.yaml").write_text(LONG.replace("seeds: 2", "seeds: 1"))
    with command(folder, "run", "long.yaml", "--executor", executor, "--json") as running:
        first_epoch(running)
        running.signal(signal.SIGSTOP)  # so that the first cannot be answered before the second comes
        running.signal(signal.SIGINT)
        time.sleep(0.2)
        running.signal(signal.SIGTERM)
        running.signal(signal.SIGCONT)
        assert running.end(SECONDS_AT_ONCE) in (130, 143)
        assert "left at once; go on with: orch run long.yaml" in running.said()
        assert running.wait_until_alone() == {}
    (trial,) = ResultsDir(folder / "results").trials()
    assert trial.state() is State.WAITING
    with command(folder, *shlex.split("run long.yaml --executor serial --json")) as again:
        first_epoch(again)
        again.signal(signal.SIGTERM)
        assert again.end() == 143
    assert any(attempt.started_from for attempt in trial.read_attempts())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_run_has_begun_prints_the_command(folder: Path, number: int) -> None:
    os.mkfifo(folder / "spec.yaml")  # reading it waits, so the run cannot begin
    with command(folder, "run", "spec.yaml", "--executor", "serial") as running:
        running.wait_for(lambda: is_caught(running.process.pid, signal.SIGTERM))
        running.signal(number)
        assert running.end(60.0) == 128 + number, running.said()
        assert running.said().strip() == "nothing has begun; run again: orch run spec.yaml --executor serial"


def is_caught(process: int, number: int) -> bool:
    """Whether a process has a handler for the signal."""
    status = Path(f"/proc/{process}/status").read_text()
    mask = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(mask >> (number - 1) & 1)


@pytest.mark.slow
def test_of_twenty_runs_started_together_one_runs_and_the_rest_name_it(folder: Path) -> None:
    started = [Command(folder, "run", "long.yaml", "--executor", "serial", "--json") for _ in range(20)]
    deadline = time.monotonic() + 600
    while sum(one.process.poll() is None for one in started) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (running,) = [one for one in started if one.process.poll() is None]
    first_epoch(running)
    refused = [one for one in started if one is not running]
    assert {one.process.returncode for one in refused} == {4}
    owner = f"sweep 'long' is held by another run (process {running.process.pid} on"
    assert all(owner in one.said() for one in refused)
    running.signal(signal.SIGTERM)
    assert running.end() == 143
    assert len(list((folder / "results/sweeps/long/runs").glob("*.json"))) == 1
