"""Trials of a cell that are still to run in; how many of them go together, and the time they take, out.

A pack is priced by packs of as many seeds that were trained on the same kind of device, never by a seed alone: how much
longer a common step takes depends on shape and device. So its time is unknown until such a pack was trained. A trial on
its own that nothing alike was timed for has a rough price, by the speed of the processor and what else it trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from orchestrator.grids.sweep_spec import Resources
from orchestrator.trial import Trial
from orchestrator.tuning.cold_times import ColdTimes, is_one_thread
from orchestrator.tuning.forecast import TimesByDevice
from orchestrator.tuning.packing import num_together


@dataclass(frozen=True)
class Price:
    """What trials of one cell take."""

    num_packed: int
    """How many of them one process trains together, at most."""
    trial_s: float | None
    """Seconds of one of them, which in a pack are those of the whole pack; None while nothing comparable is known."""
    remaining_s: float | None
    """Of all of them, pack after pack; a pack of fewer seeds counts as a largest one. None as above."""
    is_rough: bool = False
    """Whether those two come from the speed of the processor."""

    def gpu_hours(self, gpus: float) -> float | None:
        """Of all of them, where a trial or a pack takes so many GPUs; 0 on a CPU."""
        return 0.0 if gpus == 0 else None if self.remaining_s is None else self.remaining_s * gpus / 3600


@dataclass(frozen=True)
class Prices:
    """Prices trials by what was measured."""

    times: TimesByDevice
    executor: str

    @cached_property
    def cold(self) -> ColdTimes:
        """Estimates for what nothing alike was timed of."""
        return ColdTimes(self.times.of(Resources()))

    def of(self, trial: Trial, num_to_run: int, resources: Resources, num_seeds: int | None = None) -> Price:
        """The price of `num_to_run` trials like `trial`.

        Args:
            num_seeds: how many of them differ in nothing but the seed; None for all.
        """
        seeds = num_to_run if num_seeds is None else min(num_seeds, num_to_run)
        num_packed = num_together(trial, seeds, resources, self.executor)
        trial_s = self.times.of(resources, num_packed).trial_s(trial)
        is_timed = trial_s is not None
        if not is_timed and is_one_thread(resources, num_packed):
            trial_s = self.cold.trial_s(trial)
        remaining_s = _times(math.ceil(num_to_run / num_packed), trial_s)
        return Price(num_packed, trial_s, remaining_s, is_rough=not is_timed and trial_s is not None)


def _times(count: int, seconds: float | None) -> float | None:
    """Of none it is known whatever one takes."""
    return 0.0 if count == 0 else None if seconds is None else count * seconds
