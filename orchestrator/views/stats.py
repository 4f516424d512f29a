"""Replicates in, an estimate with its interval out; the only file that imports scipy.

A mean says how many values it rests on, and has no interval where one value says nothing about spread.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import t as student_t


@dataclass(frozen=True)
class MeanInterval:
    """A mean over replicates and how well it is known; in the unit of the values."""

    mean: float
    sd: float | None
    """Sample standard deviation (divisor n - 1); None for one value."""
    low: float | None
    high: float | None
    n: int
    level: float

    @property
    def half_width(self) -> float | None:
        """Distance from the mean to either end; None for one value."""
        return None if self.high is None else self.high - self.mean


def mean_interval(values: Iterable[float], level: float = 0.95) -> MeanInterval:
    """Mean of independent replicates with Student's t interval: mean +- t((1 + level) / 2, n - 1) * sd / sqrt(n).

    Exact for normal replicates (Student, "The probable error of a mean", Biometrika 6, 1908). Over seeds it speaks of
    the spread of training on these test images, and says nothing about other images. Sums are exact, so
    the order of the values does not matter and equal values have zero width.

    Raises:
        ValueError: no value, a value that is not finite, or a level outside (0, 1).

    >>> mean_interval([0.90, 0.92, 0.94]).mean
    0.92
    """
    numbers = [float(value) for value in values]
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"a mean needs finite values, got {numbers}")
    mean, n = statistics.mean(numbers), len(numbers)
    factor = student_factor(n, level)
    if factor is None:
        return MeanInterval(mean=mean, sd=None, low=None, high=None, n=n, level=level)
    sd = statistics.stdev(numbers)
    half_width = factor * sd
    return MeanInterval(mean=mean, sd=sd, low=mean - half_width, high=mean + half_width, n=n, level=level)


def student_factor(n: int, level: float = 0.95) -> float | None:
    """Half width of the interval of a mean over n replicates, in standard deviations; None for n = 1.

    Raises:
        ValueError: n is not positive, or the level lies outside (0, 1).
    """
    if n < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"n must be positive and level inside (0, 1), got {n} and {level}")
    return None if n == 1 else float(student_t.ppf((1.0 + level) / 2.0, n - 1)) / math.sqrt(n)
