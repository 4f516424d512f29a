"""This processor in; how fast one thread of it multiplies, adds and calls, out, within a third of a second.

NumPy stands in for torch, whose import alone would take ten times as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

NUM_ROUNDS = 16
SECONDS_A_TURN = 0.006
"""Short turns over a while: a processor that others share is slow for a third of a second now and then."""
NUM_CALLS = 200


@dataclass(frozen=True)
class ProcessorSpeed:
    """What one thread does, at best."""

    flops_s: float
    """FLOPs a second of a float32 matrix product, a multiply-add being 2."""
    adds_s: float
    """float32 numbers a second that are read, added and written, in a processor's cache."""
    calls_s: float
    """Calls a second of an operation on a few numbers."""


def measure_speed() -> ProcessorSpeed:
    """Of one thread of the processor that this runs on."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    rows, columns, product = (np.ones(shape, np.float32) for shape in ((1024, 64), (64, 256), (1024, 256)))
    numbers, few = np.ones(2**16, np.float32), np.ones(4, np.float32)
    total = np.empty_like(numbers)

    def call() -> None:
        for _ in range(NUM_CALLS):
            few + few

    works: list[tuple[float, Callable[[], object]]] = [
        (2.0 * rows.size * columns.shape[1], lambda: np.matmul(rows, columns, out=product)),
        (float(numbers.size), lambda: np.add(numbers, numbers, out=total)),
        (float(NUM_CALLS), call),
    ]
    with threadpool_limits(1):
        turns = [[amount / _best_s(work) for amount, work in works] for _ in range(NUM_ROUNDS)]
    return ProcessorSpeed(*(max(speeds) for speeds in zip(*turns, strict=True)))


def _best_s(work: Callable[[], object]) -> float:
    """The shortest time that `work` took in a turn."""
    begun = now = time.perf_counter()
    best = float("inf")
    while now - begun < SECONDS_A_TURN or best == float("inf"):
        before = time.perf_counter()
        work()
        now = time.perf_counter()
        best = min(best, now - before)
    return best
