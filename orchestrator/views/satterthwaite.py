"""The parts of a squared standard error in; degrees of freedom, the reach of an interval and p-values out.

Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946) of a seed part V and an image part W are
(V + W)^2 / (V^2 / (n - 1) + W^2 / (m - 1)). With V as estimated, 95 % intervals of 3 seeds cover 92 % where V is nine
tenths of the whole, and the farther out in the tail, the worse: when V comes out small by chance, so does its weight in
the formula, and the two errors go the same way. So V enters the formula (and only the formula) at an upper
confidence bound, V (n - 1) / chi2(q, n - 1), with q = sqrt(1.25 alpha), at most a half: its upper quartile for a 95 %
interval, and more for the small p-values that a correction for many tests looks at. For every share of V the error is
then alpha or less, to 3 % of alpha, at 3 seeds and at 6. Without an image part nothing changes: Student's n - 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.special import gammaincinv, stdtr, stdtrit

ROUNDING = 1e-12
"""Accuracies that differ by less are equal."""

SMALLEST_P = 1e-300


@dataclass(frozen=True)
class Spread:
    """What the squared standard error of an estimate is made of."""

    seed_part: float
    seed_df: float
    """Degrees of freedom of the seed part alone: n - 1, or Welch's for disjoint sets of seeds."""
    image_part: float
    num_images: int | None

    @property
    def se(self) -> float:
        return math.sqrt(self.seed_part + self.image_part)

    def df(self, alpha: float) -> float:
        """Degrees of freedom for a two-sided error `alpha`."""
        if self.image_part == 0.0 or self.num_images is None:
            return self.seed_df
        if self.seed_part <= ROUNDING * self.image_part:
            return self.num_images - 1.0
        q = min(0.5, math.sqrt(1.25 * alpha))
        quantile = 2.0 * float(gammaincinv(self.seed_df / 2.0, q))  # of chi-square
        ratio = self.image_part * quantile / (self.seed_part * self.seed_df)
        return (1.0 + ratio) ** 2 / (1.0 / self.seed_df + ratio**2 / (self.num_images - 1))

    def reach(self, alpha: float) -> float:
        """Half width of the interval with a two-sided error `alpha`."""
        return -float(stdtrit(self.df(alpha), alpha / 2.0)) * self.se

    def p(self, distance: float) -> float:
        """Two-sided p of an estimate at this distance from what is tested: the alpha whose interval just ends there."""
        far = abs(distance)
        if far <= ROUNDING:
            return 1.0
        if self.se == 0.0:
            return 0.0
        t = far / self.se

        def tail(df: float) -> float:
            return max(2.0 * float(stdtr(df, -t)), SMALLEST_P)

        def excess(log_p: float) -> float:
            return math.log(tail(self.df(math.exp(log_p)))) - log_p

        most = self.seed_df + (self.num_images or 1) - 1.0
        low, high = math.log(tail(most)) - 1e-9, math.log(tail(self.seed_df)) + 1e-9
        return min(1.0, math.exp(float(brentq(excess, low, high, xtol=1e-9))))
