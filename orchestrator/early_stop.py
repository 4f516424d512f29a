"""A signal before a run listens to signals itself in; the command to run again, and an exit code, out."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from orchestrator.redact import redact_words

COMMANDS = ("run", "resume")
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Heard:
    """What this process knows of signals."""

    number: int = signal.SIGINT
    """The last one."""
    has_begun = False
    """Whether a run has begun to listen."""


def listen(words: Sequence[str]) -> None:
    """From now on SIGTERM and SIGHUP end `orch run` and `orch resume` as Ctrl-C does; an ignored signal stays so."""
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
    return 128 + _Heard.number


def _interrupt(number: int, frame: FrameType | None) -> None:
    """An exception, so that what is held is let go of on the way out."""
    _Heard.number = number
    raise KeyboardInterrupt
