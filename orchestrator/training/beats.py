"""A batch handed out in; whoever watches over this process told that the training comes on, out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def _nobody() -> None:
    """Without a watcher a beat is lost."""


_watchers: list[Callable[[], None]] = [_nobody]
"""The last one listens."""


@contextmanager
def watched_by(watcher: Callable[[], None]) -> Iterator[None]:
    """While the block runs each beat calls `watcher`; of one process one at a time."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def beating(batches: Callable[P, Iterator[T]]) -> Callable[P, Iterator[T]]:
    """The same batches; each one that is handed out is a beat."""

    @wraps(batches)
    def told(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return _told(batches(*args, **kwargs))

    return told


def _told(batches: Iterator[T]) -> Iterator[T]:
    for batch in batches:
        _watchers[-1]()
        yield batch
