"""A signal in; a file that asks every worker of a sweep to save and stop, and what each worker looks at, out."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from orchestrator import durable, early_stop
from orchestrator.errors import NotReadyError
from orchestrator.lease import RunWatch
from orchestrator.places import is_local

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_BETWEEN_REQUESTS = 2.0
"""Between looks at an object store, where each costs a request."""
SECONDS_BETWEEN_LOOKS_AT_RUN = 5.0
SECONDS_TO_ASK = 5.0

_asked_here = threading.Event()
"""A stop was asked for in this process; true though the file could not be written."""


class Stop:
    """Which signal asked for the stop, if one did."""

    signal_number: int | None = None

    def listen(self) -> None:
        """Hear signals again after a library took them: Ray's start puts a handler on SIGTERM that aborts."""


@contextmanager
def stop_on_signals(stop_file: Path, farewell: str = "") -> Iterator[Stop]:
    """The first SIGINT, SIGTERM or SIGHUP asks all workers to save and stop; the second one leaves at once.

    Args:
        farewell: what a person who leaves at once is told.
    """
    stop = Stop()
    asking: list[threading.Thread] = []
    _asked_here.clear()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.signal_number is not None:
            os.write(2, f"\n{farewell}\n".encode() if farewell else b"")
            os._exit(128 + number)
        stop.signal_number = number
        _asked_here.set()
        # A thread, because a handler that waits for a disk or a store may wait for what it interrupted.
        asking.append(threading.Thread(target=_ask, args=(stop_file, number), daemon=True))
        asking[0].start()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}

    def listen() -> None:
        for number in numbers:
            signal.signal(number, on_signal)

    stop.listen = listen  # type: ignore[method-assign]
    listen()
    early_stop.begin()
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for thread in asking:
            thread.join(SECONDS_TO_ASK)
        _asked_here.clear()
        _withdraw(stop_file)


def ask_to_stop(stop_file: Path, why: str) -> None:
    """Ask every worker of a sweep to save and stop.

    Raises:
        ResultsError: the file cannot be written; workers in this process stop all the same.
    """
    _asked_here.set()
    durable.write_text(stop_file, f"{why}\n")


def is_stop_asked(stop_file: Path) -> bool:
    """Whether somebody asked for the stop."""
    return _asked_here.is_set() or stop_file.exists()


def stop_check(stop_file: Path, run: RunWatch | None) -> Callable[[], bool]:
    """Whether to save and stop: it was asked for, or the run that a worker works for is over.

    Files are looked at a few times a second at most.
    """
    pause_s = SECONDS_BETWEEN_LOOKS if is_local(stop_file) else SECONDS_BETWEEN_REQUESTS
    file_asks = _now_and_then(pause_s, stop_file.exists)
    run_is_over = _now_and_then(SECONDS_BETWEEN_LOOKS_AT_RUN, run.is_over if run else lambda: False)
    return lambda: _asked_here.is_set() or file_asks() or run_is_over()


def _now_and_then(pause_s: float, look: Callable[[], bool]) -> Callable[[], bool]:
    """`look`, asked after each pause until it says yes."""
    last, answer = time.monotonic(), False

    def check() -> bool:
        nonlocal last, answer
        now = time.monotonic()
        if not answer and now - last > pause_s:
            last, answer = now, look()
        return answer

    return check


def _ask(stop_file: Path, number: int) -> None:
    try:
        durable.write_text(stop_file, f"signal {number}\n")
    except NotReadyError as error:
        os.write(2, f"warning: {error}; trials stop at their next epoch\n".encode())


def _withdraw(stop_file: Path) -> None:
    try:
        durable.remove_file(stop_file)
    except NotReadyError:
        return  # the next run removes it before it starts
