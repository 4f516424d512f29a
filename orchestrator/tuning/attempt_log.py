"""The log of one attempt: what `orchestrator` loggers say while the block runs, in a file of the trial's folder.

A file system gets each line as it comes; an object store, where a file is one PUT, gets the whole text now and then.
Attempts that take turns in one process each have a context of their own (`contextvars`), and what is said in a context
is said of its attempt; what a thread without one says goes to all.
"""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from orchestrator import durable
from orchestrator.errors import NotReadyError, ResultsError
from orchestrator.places import is_local
from orchestrator.redact import redact_text

SECONDS_BETWEEN_PUTS = 10.0

log = logging.getLogger("orchestrator")

_own: ContextVar[Path | None] = ContextVar("log of this attempt", default=None)
_levels: list[int] = []
"""Of the logger, before each block that runs; the last one that ends goes back to the first."""


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write what is logged in the block to `path`; a log that cannot be written ends nothing.

    Raises:
        ResultsError: the folder of the log cannot be made.
    """
    handler = _open(path)
    handler.setFormatter(_Redacting("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(lambda record: _own.get() in (None, path))
    _levels.append(log.level)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    _own.set(path)
    try:
        yield
    finally:
        _own.set(None)
        log.removeHandler(handler)
        level = _levels.pop()
        if not _levels:
            log.setLevel(level)
        with suppress(OSError):  # a full disk keeps what was written before
            handler.close()


def _open(path: Path) -> logging.Handler:
    if not is_local(path):
        return _Uploading(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _Appending(path)
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}") from error


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


class _Appending(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing: on a full disk the log is the least of what is lost, and the trial's next write tells of it."""


class _Uploading(logging.StreamHandler[io.StringIO]):
    def __init__(self, path: Path) -> None:
        super().__init__(io.StringIO())
        self._path, self._last_put = path, time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if time.monotonic() - self._last_put > SECONDS_BETWEEN_PUTS:
            self._put()

    def close(self) -> None:
        self._put()
        super().close()

    def _put(self) -> None:
        self._last_put = time.monotonic()
        try:
            durable.write_text(self._path, self.stream.getvalue())
        except NotReadyError:
            self._last_put += SECONDS_BETWEEN_PUTS  # the trial's own next write tells of it
