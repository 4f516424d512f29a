"""tuning/heartbeat.py: a process that makes no step is ended, with its stacks; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.tuning.heartbeat import EXIT_HUNG

START = """
import os, signal, sys, threading, time
from pathlib import Path
from orchestrator.tuning import heartbeat
told = lambda stacks: os.write(1, stacks.encode())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_process_that_makes_no_step_ends_and_tells_where_it_was() -> None:
    done = run(
        "def stuck_in_a_lock(): threading.Lock().acquire() and threading.Event().wait()\n"
        "with heartbeat.Heartbeat(0.4, None, told) as heart: heart.beat(); heart.beat(); stuck_in_a_lock()\n"
    )
    assert done.returncode == EXIT_HUNG
    assert "stuck_in_a_lock" in done.stdout


def test_one_that_tells_for_ever_ends_all_the_same() -> None:
    done = run(
        "heartbeat.SECONDS_TO_TELL = 0.2\n"
        "with heartbeat.Heartbeat(0.2, None, lambda stacks: time.sleep(600)) as heart:\n"
        "    heart.beat(); heart.beat(); time.sleep(600)\n"
    )
    assert done.returncode == EXIT_HUNG


def test_code_that_holds_pythons_lock_is_ended_by_the_timer(tmp_path: Path) -> None:
    stack_file = tmp_path / "1.stack"
    done = run(
        "import ctypes\n"
        "def holding_the_lock(): ctypes.PyDLL(None).sleep(600)\n"
        f"with heartbeat.Heartbeat(0.4, Path({str(stack_file)!r}), told) as heart:\n"
        "    heart.beat(); heart.beat(); time.sleep(0.3); heart.beat(); holding_the_lock()\n"
    )
    assert done.returncode == 1
    assert "holding_the_lock" in stack_file.read_text()


@pytest.mark.parametrize(
    "meanwhile",
    [
        "for _ in range(12): heart.beat(); time.sleep(0.1)",
        "heart.pause(); time.sleep(1.2)",
        "time.sleep(0.9)",  # before the second beat there is three times as long
    ],
)
def test_beats_pauses_and_a_long_start_are_no_hang(meanwhile: str, tmp_path: Path) -> None:
    stack_file = tmp_path / "1.stack"
    done = run(
        f"with heartbeat.Heartbeat(0.4, Path({str(stack_file)!r}), told) as heart:\n    {meanwhile}\nprint('ended')\n"
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    assert not stack_file.exists()


def test_a_process_that_was_stopped_and_goes_on_is_not_hung() -> None:
    done = run(
        "waker = 'import os, signal, time; time.sleep(0.9); os.kill(%d, signal.SIGCONT)' % os.getpid()\n"
        "import subprocess\n"
        "with heartbeat.Heartbeat(0.5, None, told) as heart:\n"
        "    heart.beat(); heart.beat()\n"
        "    subprocess.Popen([sys.executable, '-c', waker])\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "    heart.beat()\n"
        "print('ended')\n"
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
