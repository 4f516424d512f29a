from __future__ import annotations

import os
import subprocess
import sys
import time

from orchestrator.processes import descendants, is_running, start_of, this_machine


def test_this_process_runs_and_is_the_one_that_began_then() -> None:
    started = start_of(os.getpid())
    assert started is not None
    assert is_running(os.getpid())
    assert is_running(os.getpid(), started)
    assert not is_running(os.getpid(), f"{started}0"), "a pid that came round again"


def test_a_process_that_ended_does_not_run_even_before_it_is_collected() -> None:
    process = subprocess.Popen([sys.executable, "-c", "print(1, flush=True)"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(process.pid), "a zombie writes nothing"
    process.stdout.close()
    process.wait()
    assert not is_running(process.pid)
    assert start_of(process.pid) is None


def test_a_machine_is_named_alike_in_all_its_processes() -> None:
    code = "from orchestrator.processes import this_machine; print(this_machine())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == this_machine()
    assert len(this_machine()) == 8


def test_what_a_process_started_is_found_with_what_that_started() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()  # grandchild'])"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not (below := [words for words in descendants(child.pid).values() if "grandchild" in words]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(below) == 1
        assert child.pid in descendants(os.getpid())
    finally:
        child.communicate(b"\n")
    assert descendants(child.pid) == {}
