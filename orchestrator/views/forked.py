"""A function in; its calls spread over forked processes, which see everything as it was when they were forked, out.

Only a Linux process without other threads is forked, because a child has no thread but its own and would wait for ever
for what another one held. Elsewhere, and for one processor, calls happen here: same results, later.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing import get_context
from typing import Any, TypeVar

Result = TypeVar("Result")
Submit = Callable[..., "Future[Result]"]

MAX_PROCESSES = 8


@contextmanager
def forked(work: Callable[..., Result], *, num_processes: int | None = None) -> Iterator[Submit[Result]]:
    """Gives a function that takes the arguments of `work` and returns a future of its result.

    Arguments and results travel between processes; what `work` refers to does not have to.

    Args:
        num_processes: one a processor by default; 1 calls here, at once.
    """
    if num_processes is None:
        num_processes = num_useful_processes()
    if num_processes < 2:
        yield lambda *arguments: _called(work, *arguments)
        return
    _Child.work = staticmethod(work)
    with ProcessPoolExecutor(num_processes, get_context("fork"), initializer=_leave_interrupts) as pool:
        try:
            with warnings.catch_warnings():
                # Python sees the idle threads of numpy's BLAS, which takes care of them in a child itself.
                warnings.simplefilter("ignore", DeprecationWarning)
                pool.submit(os.getpid)  # the first call forks all of them
            yield lambda *arguments: pool.submit(_in_child, *arguments)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def in_shares(work: Callable[[Sequence[Any]], Result], items: Sequence[Any], *, least: int) -> list[Result]:
    """`work` on consecutive shares of `items`, in order: a share a process where each has at least `least` of them."""
    num_shares = max(1, min(num_useful_processes(), len(items) // least))
    if num_shares == 1:
        return [work(items)]
    cuts = [len(items) * number // num_shares for number in range(num_shares + 1)]
    with forked(work, num_processes=num_shares) as submit:
        futures = [submit(items[start:end]) for start, end in pairwise(cuts)]
        return [future.result() for future in futures]


def num_useful_processes() -> int:
    """How many processes `forked` takes by itself."""
    if not sys.platform.startswith("linux") or threading.active_count() > 1:
        return 1
    return min(len(os.sched_getaffinity(0)), MAX_PROCESSES)


class _Child:
    """Holds what children do; they are born with it."""

    work: Callable[..., Any]


def _in_child(*arguments: Any) -> Any:
    return _Child.work(*arguments)


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the parent is the one that answers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _called(work: Callable[..., Result], *arguments: Any) -> Future[Result]:
    future: Future[Result] = Future()
    future.set_result(work(*arguments))
    return future
