"""p-values and deltas of seeds in; corrected p-values, sign-flip p, probability of improvement and power out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, ndtri, stdtrit

MAX_EXACT_FLIPS = 16
"""Up to this many deltas every one of the 2^n patterns of signs is counted."""

NUM_RANDOM_FLIPS = 65_536
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(128)
"""Of the quadrature over quantiles of an estimated spread, on -1..1; its relative error is below 1e-5."""


@dataclass(frozen=True)
class SignFlip:
    """An exact test that needs no shape of the noise, only its symmetry."""

    p: float
    """Two-sided: the share of sign patterns with a mean at least as far from 0."""
    smallest_p: float
    """That this many deltas allow; at 3 it is 0.25, so 3 seeds alone show nothing this way."""
    num_deltas: int


@dataclass(frozen=True)
class Improvement:
    """How often a run of one cell beats a run of the other."""

    probability: float
    low: float
    high: float
    num_pairs: int


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Scandinavian Journal of Statistics 6, 1979); a missing p stays missing and counts
    for nothing.

    Raises:
        ValueError: a p-value outside 0..1.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    if any(not 0.0 <= p <= 1.0 for p, _ in known):
        raise ValueError(f"p-values lie in 0..1, got {list(p_values)}")
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = highest
    return adjusted


def sign_flip(deltas: Sequence[float]) -> SignFlip:
    """Sign-flip test of paired deltas (Fisher, *The Design of Experiments*, 1935); above 16 deltas over 65,536 patterns
    drawn with a fixed seed, the seen one among them.

    Raises:
        ValueError: no delta.
    """
    values = np.asarray(deltas, dtype=np.float64)
    n = len(values)
    if n == 0:
        raise ValueError("a sign-flip test needs at least one delta")
    signs = _all_signs(n) if n <= MAX_EXACT_FLIPS else _random_signs(n)
    sums = np.abs(signs @ values)
    seen = abs(float(values.sum()))
    p = float(np.mean(sums >= seen * (1.0 - 1e-12) - 1e-15))
    return SignFlip(p=p, smallest_p=2.0 / len(signs), num_deltas=n)


def _all_signs(n: int) -> NDArray[np.float64]:
    return np.where((np.arange(2**n)[:, None] >> np.arange(n)) & 1, -1.0, 1.0)


def _random_signs(n: int) -> NDArray[np.float64]:
    signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(NUM_RANDOM_FLIPS, n))
    signs[:2] = [[1.0] * n, [-1.0] * n]
    return signs


def probability_of_improvement(a: Sequence[float], b: Sequence[float], level: float = 0.95) -> Improvement:
    """P(a run of a beats a run of b), ties counted half: Mann and Whitney's U over its largest value, with Newcombe's
    interval (Statistics in Medicine 25, 2006, method 5), which has a width at 0 and 1 too.

    Raises:
        ValueError: a side without values, or a level outside (0, 1).

    >>> probability_of_improvement([0.93, 0.95], [0.92, 0.94]).probability
    0.75
    """
    if not len(a) or not len(b) or not 0.0 < level < 1.0:
        raise ValueError(f"both sides need values and level lies in (0, 1), got {len(a)}, {len(b)} and {level}")
    differences = np.asarray(a, dtype=np.float64)[:, None] - np.asarray(b, dtype=np.float64)
    seen = float(((differences > 0) + 0.5 * (differences == 0)).mean())
    factor = float(ndtri((1.0 + level) / 2.0))

    def excess(true: float) -> float:
        return abs(seen - true) - factor * math.sqrt(_mann_whitney_variance(true, len(a), len(b)))

    low = 0.0 if seen == 0.0 else float(brentq(excess, 0.0, seen * (1.0 - 1e-9)))
    high = 1.0 if seen == 1.0 else float(brentq(excess, seen + (1.0 - seen) * 1e-9, 1.0))
    return Improvement(probability=seen, low=low, high=high, num_pairs=len(a) * len(b))


def _mann_whitney_variance(true: float, n: int, m: int) -> float:
    """Hanley and McNeil's variance with both group sizes at their mean, as Newcombe's method 5 takes it."""
    more = (n + m) / 2.0 - 1.0
    shape = 1.0 + more * (1.0 - true) / (2.0 - true) + more * true / (1.0 + true)
    return true * (1.0 - true) * shape / (n * m)


def smallest_detectable(se: float, df: float, *, power: float = 0.8, level: float = 0.95) -> float:
    """The true difference that a two-sided t test at 1 - `level` finds with this power.

    By the noncentral t distribution, integrated over quantiles of the estimated spread (Gauss and Legendre); in the
    unit of `se`, which is that of the estimate. For n paired deltas of standard deviation sd, se = sd / sqrt(n) and
    df = n - 1.

    Raises:
        ValueError: a negative se, df that is not positive, or power and level outside (0, 1).

    >>> [round(smallest_detectable(1.0 / math.sqrt(n), n - 1), 1) for n in (3, 5, 8)]
    [3.3, 1.7, 1.2]
    """
    if se < 0.0 or df <= 0.0 or not 0.0 < power < 1.0 or not 0.0 < level < 1.0:
        raise ValueError(f"se >= 0, df > 0, power and level inside (0, 1), got {se}, {df}, {power}, {level}")
    return se * _detectable_in_se(df, power, level)


@lru_cache(maxsize=1024)
def _detectable_in_se(df: float, power: float, level: float) -> float:
    chi_squares = 2.0 * gammaincinv(df / 2.0, (NODES + 1.0) / 2.0)
    reaches = float(stdtrit(df, (1.0 + level) / 2.0)) * np.sqrt(chi_squares / df)

    def shortfall(shift: float) -> float:
        return float(NODE_WEIGHTS @ (ndtr(shift - reaches) + ndtr(-shift - reaches))) / 2.0 - power

    return float(brentq(shortfall, 0.0, float(reaches.max()) + 10.0))
