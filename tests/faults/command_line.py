"""`orch` as a process of its own: started, listened to, hit by signals, searched for what it left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).parents[2]
MARK = "ORCH_TEST_MARK"
"""A variable that all processes of one command inherit, so that orphans are found."""


@contextmanager
def interruptible() -> Iterator[None]:
    """A process that is started inside hears Ctrl-C, also where the tests run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Command:
    """A running `orch` command."""

    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.mark = uuid4().hex
        paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self.output = folder / f"{self.mark}.out"
        self.errors = folder / f"{self.mark}.err"
        with self.output.open("w") as output, self.errors.open("w") as errors, interruptible():
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *words],
                cwd=folder, stdout=output, stderr=errors, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), MARK: self.mark, **environment},
            )  # fmt: skip

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What `--json` has said so far."""
        lines = self.output.read_text().split("\n")[:-1]
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in found if name in ("", event["event"])]

    def wait_for(self, what: Callable[[], Any], timeout_s: float = 240.0) -> Any:
        """The first true answer of `what`."""
        deadline = time.monotonic() + timeout_s
        while not (answer := what()):
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said()}"
            assert time.monotonic() < deadline, f"waited for nothing: {self.said()}"
            time.sleep(0.05)
        return answer

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, timeout_s: float = 240.0) -> int:
        """The exit code."""
        return self.process.wait(timeout_s)

    def said(self) -> str:
        """All that was written to stderr."""
        return self.errors.read_text()

    def family(self) -> dict[int, str]:
        """Processes that belong to this command and still run, with their command lines."""
        found = {}
        for place in Path("/proc").iterdir():
            if place.name.isdecimal():
                try:
                    environment = (place / "environ").read_bytes()
                    name = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    state = (place / "stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if self.mark.encode() in environment and state not in "ZX":
                    found[int(place.name)] = name
        return found

    def wait_until_alone(self, timeout_s: float = 30.0) -> dict[int, str]:
        """Whatever of the family is still there after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while (left := self.family()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left


@contextmanager
def command(folder: Path, *words: str, **environment: str) -> Iterator[Command]:
    """A command that is gone afterwards, with all it started."""
    started = Command(folder, *words, **environment)
    try:
        yield started
    finally:
        for process in started.family():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        started.process.wait()
