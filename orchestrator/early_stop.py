"""A signal before a run listens to signals itself in; the command to run again, and an exit code, out."""

from __future__ import annotations

import gc
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from orchestrator.redact import redact_words

COMMANDS = ("run", "resume")
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Heard:
    """What this process knows of signals."""

    number: int = signal.SIGINT
    """The last one."""
    is_told = False
    """Whether an interrupt was answered."""
    has_begun = False
    """Whether a run has begun to listen."""


def listen(words: Sequence[str]) -> None:
    """From now on SIGTERM and SIGHUP end `orch run` and `orch resume` as Ctrl-C does; an ignored signal stays so."""
    _Heard.is_told = False
    if words[:1] and words[0] in COMMANDS:
        for number in NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _interrupt)


def begin() -> None:
    """A run listens itself from here on."""
    _Heard.has_begun = True


def tell(words: Sequence[str]) -> int:
    """Say on stderr how to go on after an interrupt; returns the exit code."""
    text = "stopped"
    if words[:1] and words[0] in COMMANDS:
        command = shlex.join(["orch", *redact_words(words)])
        text = f"stopped; go on with: {command}" if _Heard.has_begun else f"nothing has begun; run again: {command}"
    sys.stderr.write(f"{text}\n")
    _Heard.is_told = True
    return 128 + _Heard.number


def leave(code: int) -> NoReturn:
    """End the process with this exit code.

    An interrupt inside code that was made from a string, as dataclasses are, counts for Python as never caught: it
    would end by SIGINT whatever the code. Before a run has begun nothing waits for Python's own end.

    Python's end looks several times for circles among all objects, a second where large libraries were imported; the
    system takes their memory anyway. Triton's bindings complain of what was not looked at, so with them it is.
    """
    if _Heard.is_told and not _Heard.has_begun:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if "triton" not in sys.modules:
        gc.freeze()
    sys.exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """An exception, so that what is held is let go of on the way out."""
    _Heard.number = number
    raise KeyboardInterrupt
