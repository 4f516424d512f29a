"""Estimates of one family in; the same estimates out, their spreads over seeds drawn towards each other.

A spread from 8 seeds is itself off by a quarter, and a family of cells that is corrected for its size pays for that
with much of its power. So the seed parts of a family are taken together: each is drawn towards their common value, as
far as they differ no more than chance would have them (empirical Bayes: Smyth, "Linear models and empirical Bayes
methods", Statistical Applications in Genetics and Molecular Biology 3, 2004). Where cells differ in earnest, little
happens. With answers by image the spreads are taken in units of the noise of single answers, which is known well and
differs between cells of 70 and of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from orchestrator.views.variance import Estimate, make_estimate

MIN_SEEDS = 6
"""With fewer seeds unequal spreads cannot be told from equal ones, and false alarms become too many."""


def moderate(estimates: Sequence[Estimate]) -> list[Estimate]:
    """The estimates with moderated spreads over seeds; as they are where fewer than two have `MIN_SEEDS` seeds."""
    chosen = [number for number, found in enumerate(estimates) if found.num_seeds >= MIN_SEEDS and found.seed_part]
    if len(chosen) < 2:
        return list(estimates)
    parts = np.array([estimates[number].seed_part for number in chosen], dtype=np.float64)
    dfs = np.array([estimates[number].seed_df for number in chosen], dtype=np.float64)
    units = _units([estimates[number].noise_part for number in chosen])
    moderated, total = shrink(parts / units, dfs)
    result = list(estimates)
    for number, part, df in zip(chosen, moderated * units, total, strict=True):
        result[number] = _with_spread(estimates[number], float(part), float(df))
    return result


def _units(noise_parts: Sequence[float | None]) -> NDArray[np.float64]:
    """What each spread is measured in: its noise part, or 1 where that is not known of every one."""
    known = [part for part in noise_parts if part]
    return np.array(known) if len(known) == len(noise_parts) else np.ones(len(noise_parts))


def _with_spread(estimate: Estimate, seed_part: float, seed_df: float) -> Estimate:
    return make_estimate(
        value=estimate.value,
        seed_part=seed_part,
        seed_df=seed_df,
        noise_part=estimate.noise_part,
        image_part=estimate.image_part,
        num_seeds=estimate.num_seeds,
        num_images=estimate.num_images,
        is_paired=estimate.is_paired,
        level=estimate.level,
    )


def shrink(variances: NDArray[np.float64], dfs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positive variances drawn towards their common value, and their degrees of freedom, at most those of all together
    (Smyth 2004, section 6.2).
    """
    logs = np.log(variances) - digamma(dfs / 2.0) + np.log(dfs / 2.0)
    excess = float(logs.var(ddof=1) - polygamma(1, dfs / 2.0).mean())
    prior_df = 2.0 * _inverse_trigamma(excess) if excess > 0.0 else math.inf
    if not math.isfinite(prior_df):
        common = float(np.average(variances, weights=dfs))
        return np.full(len(variances), common), np.full(len(variances), dfs.sum())
    prior = math.exp(float(logs.mean()) + float(digamma(prior_df / 2.0)) - math.log(prior_df / 2.0))
    return (prior_df * prior + dfs * variances) / (prior_df + dfs), np.minimum(prior_df + dfs, dfs.sum())


def _inverse_trigamma(value: float) -> float:
    """x with trigamma(x) = value; infinity where it is beyond 10^8."""
    low, high = 1e-8, 1e8
    if value <= float(polygamma(1, high)):
        return math.inf
    return float(brentq(lambda x: float(polygamma(1, x)) - value, low, high)) if value < 1e15 else low
