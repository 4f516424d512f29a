"""Cells and weights in; the crossed bootstrap's interval of their contrast out, as a check beside `variance`.

Seeds and images are drawn anew at once (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007). Over
few seeds its percentile interval is too short: of 3 values the resampled mean spreads sqrt(2/3) as far as it should,
and its tails are those of 10 distinct draws. So it stands beside, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from orchestrator.views.replicates import Replicates
from orchestrator.views.variance import weigh_cells

CHUNK = 200
"""Draws at once, which bounds memory at 200 doubles an image."""
ONE_THREAD = 200_000
"""Multiplications that OpenBLAS does on the calling thread; it takes others from 262,144 on."""
MAX_REMEMBERED = 2_000_000
"""Doubles: 16 MB; the draws over larger test sets are made anew."""


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
    draws = _means(tables, num_draws, random_seed)
    low, high = np.quantile(draws, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return BootstrapInterval(low=float(low), high=float(high), num_draws=num_draws, level=level)


Weights = tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]
"""[draws, images], and for each table [draws, seeds]."""


def _means(tables: Sequence[NDArray[np.float64]], num_draws: int, random_seed: int) -> NDArray[np.float64]:
    """[draws] means of the sum of `tables`, each [seeds, images], over draws of images that all share."""
    num_images, nums_seeds = tables[0].shape[1], tuple(len(table) for table in tables)
    make = _remembered if num_draws * num_images <= MAX_REMEMBERED else _weights
    parts = []
    for image_weights, seed_weights in make(num_images, nums_seeds, num_draws, random_seed):
        totals = (
            np.einsum("ds,ds->d", weights, _product(image_weights, table.T))
            for weights, table in zip(seed_weights, tables, strict=True)
        )
        parts.append(sum(totals, np.zeros(len(image_weights))))
    return np.concatenate(parts)


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """a @ b in pieces so small that BLAS starts no threads: they would wait for each other longer than they compute."""
    step = max(1, ONE_THREAD // b.size)
    return np.concatenate([a[start : start + step] @ b for start in range(0, len(a), step)])


def _weights(num_images: int, nums_seeds: tuple[int, ...], num_draws: int, random_seed: int) -> Iterator[Weights]:
    """The draws, a chunk at a time."""
    rng = np.random.default_rng(random_seed)
    for start in range(0, num_draws, CHUNK):
        size = min(CHUNK, num_draws - start)
        image_weights = _counts(num_images, size, rng)
        yield image_weights, tuple(_counts(num_seeds, size, rng) for num_seeds in nums_seeds)


@lru_cache(maxsize=4)
def _remembered(num_images: int, nums_seeds: tuple[int, ...], num_draws: int, random_seed: int) -> tuple[Weights, ...]:
    """Contrasts of one shape share their draws, and to draw takes longer than to use what is drawn."""
    return tuple(_weights(num_images, nums_seeds, num_draws, random_seed))


def _counts(size: int, num_draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """[draws, size] how often each of `size` things is drawn, as a share."""
    drawn = rng.integers(size, size=(num_draws, size)) + size * np.arange(num_draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=num_draws * size).reshape(num_draws, size) / size
