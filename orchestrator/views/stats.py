"""Replicates in, estimates with their intervals out: the one door to the statistics, whose parts stand beside.

A mean says how many values it rests on, and has no interval where one value says nothing about spread. `contrast` and
its kin speak of seeds and test images both, `mean_interval` of seeds alone.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import stdtrit

from orchestrator.views.bootstrap import BootstrapInterval, crossed_bootstrap
from orchestrator.views.curve_fits import (
    MIN_SEEDS_FOR_INTERVALS,
    ExponentialFit,
    HingeFit,
    Interval,
    fit_exponential,
    fit_hinge,
)
from orchestrator.views.multiplicity import (
    Improvement,
    SignFlip,
    holm,
    probability_of_improvement,
    sign_flip,
    smallest_detectable,
)
from orchestrator.views.replicates import Replicates, score_images, score_seeds
from orchestrator.views.saturation import (
    DEFAULT_MARGIN,
    Decline,
    SaturationAnswer,
    Verdict,
    answer_saturation,
    find_decline,
    saturated_from,
)
from orchestrator.views.variance import (
    Estimate,
    VarianceComponents,
    contrast,
    delta,
    difference_in_differences,
    mean_accuracy,
    pooled_delta,
    variance_components,
)

__all__ = [
    "DEFAULT_MARGIN",
    "MIN_SEEDS_FOR_INTERVALS",
    "BootstrapInterval",
    "Decline",
    "Estimate",
    "ExponentialFit",
    "HingeFit",
    "Improvement",
    "Interval",
    "MeanInterval",
    "Replicates",
    "SaturationAnswer",
    "SignFlip",
    "VarianceComponents",
    "Verdict",
    "answer_saturation",
    "contrast",
    "crossed_bootstrap",
    "delta",
    "difference_in_differences",
    "find_decline",
    "fit_exponential",
    "fit_hinge",
    "holm",
    "mean_accuracy",
    "mean_interval",
    "pooled_delta",
    "probability_of_improvement",
    "saturated_from",
    "score_images",
    "score_seeds",
    "sign_flip",
    "smallest_detectable",
    "student_factor",
    "variance_components",
]


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
    return None if n == 1 else float(stdtrit(n - 1, (1.0 + level) / 2.0)) / math.sqrt(n)
