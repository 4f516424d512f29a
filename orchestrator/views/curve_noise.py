"""Depths and what was measured at each in; the points of a curve with the noise of their means out.

Two seeds of one depth differ, and so would two test sets. Over depths the seeds are independent trainings, whose
spreads are drawn towards each other as far as they agree (`moderation`): six seeds at one depth say little about
theirs, and deep networks may be noisier than others. The images are the same at every depth, so their part is a whole
matrix; what all depths share moves the curve up or down without bending it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.views.moderation import shrink
from orchestrator.views.replicates import Replicates, score_seeds
from orchestrator.views.variance import share_images, variance_components


@dataclass(frozen=True, eq=False)
class CurvePoints:
    """A curve over depth, shallowest first."""

    depth: NDArray[np.float64]
    mean: NDArray[np.float64]
    whiten: NDArray[np.float64]
    """[depths, depths]: makes the noise of the means white; the unit matrix without replicates."""
    num_seeds: int
    """Smallest number of seeds at a depth; 0 for bare points."""
    df: float
    """Degrees of freedom of the moderated spread over seeds."""


def read_points(depth: Sequence[float], acc: Sequence[float | Sequence[float] | Replicates]) -> CurvePoints:
    """The points of a curve; without two seeds at every depth they weigh the same.

    Raises:
        ValueError: fewer than 3 depths, a depth twice, values that are not finite, or not one a depth.
    """
    depths, acc = np.array(list(depth), dtype=np.float64), list(acc)  # a column of a frame is indexed by its labels
    told = [float(value) for value in depths]
    if len(depths) != len(acc):
        raise ValueError(f"a fit needs one value a depth, got {len(depths)} depths and {len(acc)} values")
    if not np.isfinite(depths).all():
        raise ValueError(f"depths must be finite, got {told}")
    if len(set(told)) < max(3, len(told)):
        raise ValueError(f"a fit needs at least 3 depths, each once, got {told}")
    order = np.argsort(depths)
    cells = [_read_cell(acc[index]) for index in order]
    is_bare = all(isinstance(value, (int, float, np.number)) for value in acc)
    mean = np.array([cell.mean for cell in cells])
    num_seeds = 0 if is_bare else min(cell.num_seeds for cell in cells)
    whiten, df = np.eye(len(cells)), 0.0
    if num_seeds >= 2:
        covariance, df = _covariance(cells)
        whiten = _whitener(covariance, mean)
    return CurvePoints(depth=depths[order], mean=mean, whiten=whiten, num_seeds=num_seeds, df=df)


def _read_cell(value: float | Sequence[float] | Replicates) -> Replicates:
    if isinstance(value, Replicates):
        return value
    return score_seeds(np.atleast_1d(np.asarray(value, dtype=np.float64)))


def _covariance(cells: Sequence[Replicates]) -> tuple[NDArray[np.float64], float]:
    """Of the means of `cells` over seeds, and over images where all share them; and its degrees of freedom."""
    counts = np.array([cell.num_seeds for cell in cells])
    spreads, df = _spreads([float(cell.accs.var(ddof=1)) for cell in cells], counts - 1)
    if not share_images(cells):
        return np.diag(spreads / counts), df
    bits = [cell.is_correct for cell in cells if cell.is_correct is not None]
    by_image = np.stack([rows.mean(axis=0) for rows in bits])
    noise = np.array([variance_components(rows).noise for rows in bits]) / by_image.shape[1]
    seed = np.maximum(spreads - noise, 0.0)
    covariance: NDArray[np.float64] = np.cov(by_image) / by_image.shape[1] + np.diag(seed / counts)
    return covariance, df


def _spreads(variances: Sequence[float], dfs: NDArray[np.int_]) -> tuple[NDArray[np.float64], float]:
    """Moderated variances over seeds; a depth whose seeds agree exactly gets the pooled one."""
    found = np.array(variances)
    pooled = float(np.average(found, weights=dfs))
    if not (found > 0.0).all():
        return np.full(len(found), pooled), float(dfs.sum())
    moderated, total = shrink(found, dfs.astype(np.float64))
    return moderated, float(total.mean())


def _whitener(covariance: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """W with W covariance W^T = 1; where nothing varies, all points weigh the same and very much."""
    floor = (1e-9 * max(float(np.abs(mean).max()), 1e-300)) ** 2
    values, vectors = np.linalg.eigh(covariance)
    whiten: NDArray[np.float64] = (
        vectors / np.sqrt(np.maximum(values, max(floor, 1e-9 * float(values.max()))))
    ) @ vectors.T
    return whiten
