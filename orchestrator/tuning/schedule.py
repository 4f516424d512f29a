"""Trials in; the order in which they start, so that the places of a machine or a cluster become idle together, out.

The order of evidence (seed after seed) leaves long trials for the end. Where that would cost time, the last ones start
in another order.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from orchestrator import cost
from orchestrator.trial import Trial
from orchestrator.tuning.timing import ExpectedTime

MAX_EXCESS = 0.05
"""How much later a sweep may end for the sake of its order."""


def predicted_work(trial: Trial) -> float:
    """A number that grows with the training time: forward FLOPs times epochs; depth for an attention of one's own."""
    per_image = float(cost.flops(trial)) if cost.is_closed_form(trial) else float(trial.model.depth)
    return per_image * trial.train.epochs


def longest_first(trials: Sequence[Trial]) -> list[Trial]:
    """The trials by their expected training time."""
    return sorted(trials, key=lambda trial: -predicted_work(trial))


def makespan(times: Sequence[float], num_places: int) -> float:
    """When the last of trials of these times ends, each starting in order as soon as a place is free.

    >>> makespan([1, 1, 4], 2), makespan([4, 1, 1], 2)
    (5.0, 4.0)
    """
    ends = [0.0] * min(num_places, max(len(times), 1))
    for time in times:
        heapq.heapreplace(ends, ends[0] + time)
    return max(ends)


def times_of(trials: Sequence[Trial], expected: Mapping[str, ExpectedTime]) -> list[float]:
    """Expected seconds, by trial_id, where every trial has some, else numbers that grow with the time."""
    known = [expected.get(trial.trial_id) for trial in trials]
    if all(known):
        return [time.seconds for time in known if time is not None]
    return [predicted_work(trial) for trial in trials]


def kept_in_time(trials: Sequence[Trial], times: Sequence[float], num_places: int) -> list[Trial]:
    """As many of `trials` in their order as let the last one end within 5 % of where longest first would end; the rest
    longest first.

    Args:
        times: of each, in any unit.
    """
    latest = (1.0 + MAX_EXCESS) * makespan(sorted(times, reverse=True), num_places)
    least, most = 0, len(times)
    while least < most:
        middle = (least + most + 1) // 2
        is_in_time = makespan([*times[:middle], *sorted(times[middle:], reverse=True)], num_places) <= latest
        least, most = (middle, most) if is_in_time else (least, middle - 1)
    rest = sorted(zip(trials[least:], times[least:], strict=True), key=lambda pair: -pair[1])
    return [*trials[:least], *(trial for trial, _ in rest)]
