"""Measured epoch times in, expected times of other trials out; never a constant.

Within one family (trials that differ only in depth, seed and what costs no time, such as the learning rate) an epoch
takes a + b * depth seconds, because blocks are identical. With one measured depth a is taken as 0, so the estimate of a
shallower net is low.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.trial import Trial

COSTS_NO_TIME = {
    "epochs", "cooldown_epochs", "warmup_epochs", "lr", "min_lr", "warmup_lr", "weight_decay", "momentum",
    "label_smoothing",
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What takes equal time: trials of one kind."""

    family: str
    depth: int
    num_epochs: int


@dataclass(frozen=True)
class ExpectedTime:
    """How long a trial will train."""

    seconds: float
    """In epochs."""
    is_rough: bool = False
    """Whether it comes from the speed of the processor, because nothing alike was timed."""


class EpochTimes:
    """Seconds an epoch, by family and depth, on one kind of device."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[int, tuple[float, int]]] = defaultdict(dict)
        """Seconds together and the number of epochs, by family and depth."""
        self._examples: dict[tuple[str, int], Mapping[str, Any]] = {}
        """The canonical content of a trial, by family and depth."""

    def add(self, canonical: Mapping[str, Any], seconds: float) -> None:
        """Take in a measured epoch of the trial with this canonical content."""
        family, depth = family_of(canonical), int(canonical["model"]["depth"])
        self._examples.setdefault((family, depth), canonical)
        self.add_to(family, depth, seconds)

    def add_to(self, family: str, depth: int, seconds: float) -> None:
        """Take in a measured epoch."""
        total, count = self._sums[family].get(depth, (0.0, 0))
        self._sums[family][depth] = total + seconds, count + 1

    def means(self) -> Iterator[tuple[Mapping[str, Any], float]]:
        """The canonical content of a trial of each kind that was measured, and the mean seconds of its epochs."""
        for (family, depth), canonical in self._examples.items():
            total, count = self._sums[family][depth]
            yield canonical, total / count

    def epoch_s(self, trial: Trial) -> float | None:
        """Expected seconds an epoch of `trial`, or None while nothing comparable was measured."""
        return self.epoch_s_of(work_of(trial))

    def epoch_s_of(self, work: Work) -> float | None:
        """Expected seconds an epoch of such a trial, or None while nothing comparable was measured."""
        sums = self._sums.get(work.family)
        if not sums:
            return None
        means = {depth: total / count for depth, (total, count) in sums.items()}
        if work.depth in means:
            return means[work.depth]
        if len(means) == 1:
            ((known, seconds),) = means.items()
            return seconds * work.depth / known
        return _line_at(means, work.depth)

    def trial_s(self, trial: Trial) -> float | None:
        """Expected seconds of all epochs of `trial`."""
        seconds = self.epoch_s(trial)
        return None if seconds is None else seconds * (trial.train.epochs + trial.train.cooldown_epochs)


def work_of(trial: Trial) -> Work:
    """The kind of a trial."""
    return Work(family_of(trial.canonical()), trial.model.depth, trial.train.epochs + trial.train.cooldown_epochs)


def family_of(canonical: Mapping[str, Any]) -> str:
    """What trials have in common whose epoch times lie on one line over depth, from their canonical content."""
    model = {key: value for key, value in canonical["model"].items() if key != "depth"}
    train = {key: value for key, value in canonical["train"].items() if key not in COSTS_NO_TIME}
    return json.dumps([model, canonical["data"], train], sort_keys=True)


def _line_at(means: Mapping[int, float], depth: int) -> float:
    """Least squares a + b * depth, not below the smallest measured time's share."""
    n = len(means)
    mean_depth = sum(means) / n
    mean_s = sum(means.values()) / n
    spread = sum((d - mean_depth) ** 2 for d in means)
    slope = sum((d - mean_depth) * (s - mean_s) for d, s in means.items()) / spread
    return max(mean_s + slope * (depth - mean_depth), min(means.values()) * min(1.0, depth / min(means)))
