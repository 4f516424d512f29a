"""A small process that ends what a run's Ray started, once the run itself is gone, however it ended.

Ray's own agents notice that their raylet died, then may wait a minute for a control service that died with it. All
processes of a run's Ray inherit a variable, by which they are found. It is looked for in /proc; where there is none,
nothing is ended. Run as a script it imports neither Ray nor this package, so that it costs nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "ORCH_RAY_GUARD"
KEEP_ENVIRONMENT = "SPT_NOENV"
"""Tells the library with which Ray's processes name themselves not to write their names over their environment."""
SECONDS_TO_LEAVE = 5.0
"""For processes that save something while they end."""
SECONDS_TO_WAIT_FOR_GUARD = 30.0
LOOKS_THAT_FIND_NOTHING = 2
"""A process that is just being started shows no environment for a moment."""
AT_ONCE = b"now"


class Guard:
    """The guard of one cluster."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-IS", __file__, self.mark],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    @contextmanager
    def marking(self) -> Iterator[None]:
        """Processes started in this block, and those that they start, are guarded."""
        before = dict(os.environ)
        os.environ.update({MARK: self.mark, KEEP_ENVIRONMENT: "1"})
        try:
            yield
        finally:
            for name in (MARK, KEEP_ENVIRONMENT):
                os.environ.pop(name)
                os.environ.update({name: before[name]} if name in before else {})

    def end(self, *, at_once: bool = False) -> None:
        """End what is left of the cluster, and wait until it is."""
        with suppress(subprocess.TimeoutExpired):
            self.process.communicate(AT_ONCE if at_once else b"", timeout=SECONDS_TO_WAIT_FOR_GUARD)


def marked(mark: str) -> list[int]:
    """Running processes that were started under `mark`."""
    word, found = f"{MARK}={mark}".encode(), []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            is_running = (place / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            if is_running and word in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
    return found


def watch(mark: str) -> None:
    """Wait until the run closes the pipe, or dies; then end its processes."""
    told = sys.stdin.buffer.read()
    deadline = time.monotonic() + (0.0 if told == AT_ONCE else SECONDS_TO_LEAVE)
    num_empty = 0
    while num_empty < LOOKS_THAT_FIND_NOTHING:
        left = marked(mark)
        num_empty = 0 if left else num_empty + 1
        if time.monotonic() >= deadline:
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    watch(sys.argv[1])
