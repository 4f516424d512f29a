"""The dashboard of a small sweep, served in this process until the block ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.results import ResultsDir
from orchestrator.tuning.dashboard import Addresses, serve


@contextmanager
def served(results: ResultsDir) -> Iterator[Addresses]:
    stop, is_up, known = threading.Event(), threading.Event(), []
    failure: list[BaseException] = []

    def announce(addresses: Addresses) -> None:
        known.append(addresses)
        is_up.set()

    def run() -> None:
        try:
            serve(results, announce, stop=stop)
        except BaseException as error:  # the test has to hear of it, not this thread
            failure.append(error)
        finally:
            is_up.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        is_up.wait()
        if failure:
            raise failure[0]
        yield known[0]
    finally:
        stop.set()
        thread.join()
