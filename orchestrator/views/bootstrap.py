"""Cells and weights in; the crossed bootstrap's interval of their contrast out, as a check beside `variance`.

Seeds and images are drawn anew at once (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007). Over
few seeds its percentile interval is too short: of 3 values the resampled mean spreads sqrt(2/3) as far as it should,
and its tails are those of 10 distinct draws. So it stands beside, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.views.replicates import Replicates
from orchestrator.views.variance import weigh_cells

CHUNK = 200
"""Draws at once, which bounds memory at 200 doubles an image."""


@dataclass(frozen=True)
class BootstrapInterval:
    """Percentile interval of the crossed bootstrap; in the unit of the accuracies."""

    low: float
    high: float
    num_draws: int
    level: float


def crossed_bootstrap(
    cells: Sequence[Replicates],
    weights: Sequence[float],
    *,
    num_draws: int = 2000,
    level: float = 0.95,
    random_seed: int = 0,
) -> BootstrapInterval:
    """Percentile interval of sum of weight * accuracy over seeds and images drawn with replacement; equal input, equal
    answer. Seeds and images are paired as in `contrast`.

    Raises:
        ValueError: no cell, not a weight a cell, no draw, or a level outside (0, 1).
    """
    tables, _ = weigh_cells(cells, weights)
    if num_draws < 1 or not 0.0 < level < 1.0:
        raise ValueError(f"num_draws must be positive and level lie in (0, 1), got {num_draws} and {level}")
    rng = np.random.default_rng(random_seed)
    draws = np.concatenate([_draw(tables, min(CHUNK, num_draws - start), rng) for start in range(0, num_draws, CHUNK)])
    low, high = np.quantile(draws, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return BootstrapInterval(low=float(low), high=float(high), num_draws=num_draws, level=level)


def _draw(tables: Sequence[NDArray[np.float64]], num_draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[draws] means of the sum of `tables`, each [seeds, images], over one draw of images that all share."""
    image_weights = _counts(tables[0].shape[1], num_draws, rng)
    total = np.zeros(num_draws)
    for table in tables:
        seed_weights = _counts(len(table), num_draws, rng)
        total += np.einsum("ds,ds->d", seed_weights, image_weights @ table.T)
    return total


def _counts(size: int, num_draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[draws, size] how often each of `size` things is drawn, as a share."""
    drawn = rng.integers(size, size=(num_draws, size)) + size * np.arange(num_draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=num_draws * size).reshape(num_draws, size) / size
