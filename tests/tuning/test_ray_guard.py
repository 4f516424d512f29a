"""ray_guard.py: what was started under its mark ends with the run, nothing else does."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.processes import is_running
from orchestrator.tuning import ray_guard
from orchestrator.tuning.ray_guard import Guard, marked

DRIVER = """
import subprocess, sys
from orchestrator.tuning.ray_guard import Guard
guard = Guard()
with guard.marking():
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(guard.mark, child.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        while not Path(f"/proc/{started.pid}/environ").read_bytes():
            time.sleep(0.01)  # it shows none for a moment
        yield started
    finally:
        started.kill()
        started.wait()


def gone(process: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_running(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_what_a_killed_driver_left_is_ended() -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    mark, child = driver.stdout.readline().split()
    assert marked(mark) == [int(child)]
    driver.kill()
    driver.communicate()
    assert gone(int(child), 30)


def test_the_end_waits_for_those_that_leave_by_themselves() -> None:
    guard = Guard()
    with guard.marking():
        short = subprocess.Popen(["sleep", "0.5"])
    began = time.monotonic()
    guard.end()
    assert short.wait() == 0
    assert time.monotonic() - began < ray_guard.SECONDS_TO_WAIT_FOR_GUARD
    assert guard.process.returncode == 0


def test_at_once_means_at_once_and_strangers_are_left_alone() -> None:
    guard = Guard()
    with sleeper() as stranger:
        with guard.marking(), sleeper() as guarded:
            assert marked(guard.mark) == [guarded.pid]
            guard.end(at_once=True)
            assert guarded.wait(5) == -9
        assert is_running(stranger.pid)


def test_the_mark_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ray_guard.MARK, raising=False)
    guard = Guard()
    with guard.marking(), sleeper() as guarded:
        assert marked(guard.mark) == [guarded.pid]
    with sleeper():
        assert marked(guard.mark) == []
    guard.end()
