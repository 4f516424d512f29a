"""A signal in, a file that asks every worker of a sweep to save and stop out."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from orchestrator import durable


class Stop:
    """Which signal asked for the stop, if one did."""

    signal_number: int | None = None


@contextmanager
def stop_on_signals(stop_file: Path) -> Iterator[Stop]:
    """The first SIGINT, SIGTERM or SIGHUP asks all workers to save and stop; the second one leaves at once."""
    stop = Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.signal_number is not None:
            os._exit(128 + number)
        stop.signal_number = number
        durable.write_text(stop_file, f"signal {number}\n")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop_file.unlink(missing_ok=True)
