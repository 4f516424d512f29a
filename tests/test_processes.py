from __future__ import annotations

import os
import subprocess
import sys

from orchestrator.processes import is_running, start_of, this_machine


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
