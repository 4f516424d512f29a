"""Beats of a trial in; when they stay away, the stacks of all threads in a file and the end of the process out.

A thread watches and has the time to tell why. Where some code holds Python's lock no thread runs, so behind it stands
faulthandler's timer, which needs no lock, writes the stacks and ends the process without a word.
"""

from __future__ import annotations

import faulthandler
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from orchestrator import durable
from orchestrator.failure import FailureKind
from orchestrator.places import is_local
from orchestrator.record import LOST
from orchestrator.results import TrialFolder
from orchestrator.training.beats import watched_by

EXIT_HUNG = 3
FIRST_LIMIT_RATIO = 3.0
"""Before the first beat a model is compiled and a dataset is read, which take longer than a step."""
TIMER_RATIO = 3.0
"""The timer counts time in which the whole process was stopped, so it waits longer than the thread, which does not."""
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_TELL = 20.0
"""Whatever is told, a hung file system must not keep a hung process alive."""


@contextmanager
def watched_attempt(
    folder: TrialFolder, number: int, hang_minutes: float, end: Callable[..., None]
) -> Iterator[Heartbeat]:
    """The block's training is watched over; a hang is told on stderr, its stacks are kept beside the attempt.

    Args:
        number: of the attempt.
        hang_minutes: without a step; three times as many at the start.
        end: writes down how the attempt ended.
    """
    stack_file = folder.stack_file(number)

    def on_hang(stacks: str) -> None:
        told = f"no step for {hang_minutes:g} minutes; the stacks of all threads are in {stack_file.name}"
        go_on = "`orch run` again goes on from its checkpoint"
        os.write(2, f"\nerror: trial {folder.path.name}: {told} ({stack_file}); {go_on}\n".encode())
        durable.write_text(stack_file, stacks)
        end(LOST, told, failure=FailureKind.HUNG.value)

    local = stack_file if is_local(stack_file) else None
    with Heartbeat(60.0 * hang_minutes, local, on_hang) as heart, watched_by(heart.beat):
        yield heart


class Heartbeat:
    """Ends this process when nothing beats for too long. Of one process one at a time.

    Args:
        limit_s: seconds without a beat; three times as many before the second one, as the first step is compiled.
        stack_file: where faulthandler's timer writes; a local file, or None for a temporary one.
        on_hang: told the stacks before the end; may fail or hang.
    """

    def __init__(self, limit_s: float, stack_file: Path | None, on_hang: Callable[[str], None]) -> None:
        self.limit_s, self.stack_file, self.on_hang = limit_s, stack_file, on_hang
        self._look_s = min(SECONDS_BETWEEN_LOOKS, limit_s / 4)
        self._ended, self._num_beats, self._is_paused = threading.Event(), 0, False
        self._thread = threading.Thread(target=self._watch, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        opened = self.stack_file.open("w+b") if self.stack_file else tempfile.TemporaryFile()
        self._stacks = cast(BinaryIO, opened)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(SECONDS_TO_TELL)
        faulthandler.cancel_dump_traceback_later()
        self._stacks.close()
        if self.stack_file is not None:
            with suppress(OSError):
                self.stack_file.unlink(missing_ok=True)

    def beat(self) -> None:
        """A step was made; costs nothing."""
        self._num_beats += 1
        self._is_paused = False

    def pause(self) -> None:
        """Until the next beat nothing is expected: the trial waits for somebody else."""
        self._is_paused = True

    def _watch(self) -> None:
        """Counts only time in which this thread ran: a process that was stopped for a while is not hung."""
        seen, idle_s, last = 0, 0.0, time.monotonic()
        while not self._ended.wait(self._look_s):
            limit_s = self.limit_s * (FIRST_LIMIT_RATIO if self._num_beats < 2 else 1.0)
            faulthandler.dump_traceback_later(TIMER_RATIO * limit_s, exit=True, file=self._stacks)
            now = time.monotonic()
            idle_s += min(now - last, 2 * self._look_s)
            last = now
            if self._num_beats != seen or self._is_paused:
                seen, idle_s = self._num_beats, 0.0
            if idle_s > limit_s:
                self._end_process()

    def _end_process(self) -> None:
        teller = threading.Thread(target=self._tell, daemon=True)
        teller.start()
        teller.join(SECONDS_TO_TELL)
        os._exit(EXIT_HUNG)

    def _tell(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        faulthandler.dump_traceback(file=self._stacks, all_threads=True)
        self._stacks.seek(0)
        self.on_hang(self._stacks.read().decode(errors="replace"))
