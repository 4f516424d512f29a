"""Cells and weights in; an accuracy, a delta or any linear contrast with its interval out, over seeds and images both.

The estimand is accuracy over the population of test images, averaged over training randomness. Two things vary: the
seeds, and which images happened to be in the test set. With y[s, i] = mu + seed[s] + image[i] + noise[s, i]
(two-way random effects, Searle, Casella and McCulloch, *Variance Components*, 1992, chapter 4) the mean over n seeds
and m images has the squared standard error

    MS_seed / (n m)  +  max(MS_image - MS_noise, 0) / (n m)  =  seed part + image part.

A contrast over cells is the same thing of z = sum of weight * y, which pairs on seeds and images at once; where seeds
are not shared, each set of seeds adds a seed part of its own and the images stay paired.

Negative components. The seed component is never cut off: only MS_seed enters, which estimates n m times the seed part
whatever the sign of MS_seed - MS_noise; three seeds cannot tell a small component from none, and an interval without
it would be too short. The image component is cut off at 0, for a negative one would undercut the seeds alone.

Degrees of freedom are Satterthwaite's, made to cover at few seeds (`satterthwaite`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.views.replicates import Replicates
from orchestrator.views.satterthwaite import ROUNDING, Spread

SEED_AND_IMAGE = "seed x image"
SEEDS_ONLY = "seeds only"


@dataclass(frozen=True)
class VarianceComponents:
    """Of one [seeds, images] matrix; estimates without bias, so a component may be negative."""

    mean: float
    seed: float
    image: float
    noise: float
    num_seeds: int
    num_images: int


@dataclass(frozen=True)
class Estimate:
    """A number computed from cells and how well it is known; in the unit of the accuracies."""

    value: float
    low: float | None
    """Lower end of the interval; None where one seed says nothing about spread."""
    high: float | None
    se: float | None
    df: float | None
    """Degrees of freedom of the interval."""
    p: float | None
    """Two-sided, of the value being 0."""
    num_seeds: int
    """That enter; the smallest number, where cells have seeds of their own."""
    num_images: int | None
    method: str
    """`seed x image`, or `seeds only`: then it speaks of these test images and says nothing about others."""
    is_paired: bool
    """Whether all cells share their seeds."""
    seed_part: float | None
    """Part of `se` squared that more seeds make smaller."""
    seed_df: float | None
    """Degrees of freedom of that part alone: n - 1 for paired seeds, Welch's for disjoint ones."""
    noise_part: float | None
    """What `seed_part` would be if seeds differed by the noise of single answers alone; None without images."""
    image_part: float
    """Part of `se` squared that only more test images would make smaller."""
    level: float

    @property
    def half_width(self) -> float | None:
        return None if self.high is None else self.high - self.value

    @property
    def spread(self) -> Spread | None:
        """The parts of `se` squared; None where one seed says nothing about spread."""
        if self.seed_part is None or self.seed_df is None:
            return None
        return Spread(self.seed_part, self.seed_df, self.image_part, self.num_images)

    def bound(self, level: float, *, is_upper: bool) -> float | None:
        """One-sided confidence bound; None where there is no interval."""
        spread = self.spread
        if spread is None:
            return None
        reach = spread.reach(2.0 * (1.0 - level))
        return self.value + (reach if is_upper else -reach)

    def one_sided_p(self, *, of_more_than: float = 0.0) -> float | None:
        """p of the true value being `of_more_than` or less; small where it is more."""
        spread = self.spread
        if spread is None:
            return None
        half = spread.p(self.value - of_more_than) / 2.0
        return half if self.value >= of_more_than else 1.0 - half


def variance_components(is_correct: ArrayLike) -> VarianceComponents:
    """Seed, image and noise components of a [seeds, images] matrix of numbers, by analysis of variance.

    Raises:
        ValueError: fewer than two of either.
    """
    y = np.asarray(is_correct, dtype=np.float64)
    if y.ndim != 2 or min(y.shape) < 2:
        raise ValueError(f"components need at least two seeds and two images, got shape {y.shape}")
    n, m = y.shape
    ms_seed, ms_noise = m * float(y.mean(axis=1).var(ddof=1)), _noise(y)
    ms_image = n * float(y.mean(axis=0).var(ddof=1))
    return VarianceComponents(
        mean=float(y.mean()),
        seed=(ms_seed - ms_noise) / m,
        image=(ms_image - ms_noise) / n,
        noise=ms_noise,
        num_seeds=n,
        num_images=m,
    )


def mean_accuracy(cell: Replicates, level: float = 0.95) -> Estimate:
    """Mean accuracy of a cell."""
    return contrast([cell], [1.0], level)


def delta(a: Replicates, b: Replicates, level: float = 0.95) -> Estimate:
    """a - b, paired on what the two share of seeds and images."""
    return contrast([a, b], [1.0, -1.0], level)


def difference_in_differences(
    a_shallow: Replicates, a_deep: Replicates, b_shallow: Replicates, b_deep: Replicates, level: float = 0.95
) -> Estimate:
    """(a_deep - a_shallow) - (b_deep - b_shallow): how much more depth pays for a than for b."""
    return contrast([a_deep, a_shallow, b_deep, b_shallow], [1.0, -1.0, -1.0, 1.0], level)


def pooled_delta(pairs: Sequence[tuple[Replicates, Replicates]], level: float = 0.95) -> Estimate:
    """Mean of a - b over `pairs` of cells, one pair a depth: one question, one test.

    Raises:
        ValueError: no pair.
    """
    cells = [cell for pair in pairs for cell in pair]
    return contrast(cells, [1.0 / len(pairs), -1.0 / len(pairs)] * len(pairs) if pairs else [], level)


def contrast(cells: Sequence[Replicates], weights: Sequence[float], level: float = 0.95) -> Estimate:
    """Sum of weight * accuracy over `cells`.

    Images count where every cell has the same test set's answers by image. Seeds are paired by value: on the seeds that
    all cells share, where there are at least two; otherwise cells with other seeds count as independent.

    Raises:
        ValueError: no cell, not a weight a cell, or a level outside (0, 1).
    """
    tables, num_images = weigh_cells(cells, weights)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    by_seed = [table.mean(axis=1) for table in tables]
    counts = [len(rows) for rows in by_seed]
    seed_part, seed_df = _seed_part(by_seed) if min(counts) > 1 else (None, None)
    noise_part = math.fsum(_noise(table) / table.size for table in tables if len(table) > 1 and num_images)
    return make_estimate(
        value=math.fsum(float(rows.mean()) for rows in by_seed),
        seed_part=seed_part,
        seed_df=seed_df,
        noise_part=None if num_images is None else noise_part,
        image_part=0.0 if num_images is None else _image_part(tables, noise_part),
        num_seeds=min(counts),
        num_images=num_images,
        is_paired=len(counts) == 1,
        level=level,
    )


def weigh_cells(cells: Sequence[Replicates], weights: Sequence[float]) -> tuple[list[NDArray[np.float64]], int | None]:
    """Tables of the weighted sum, one for each set of seeds, [seeds, images] or [seeds, 1]; and the number of images,
    None where accuracies are all that is known of some cell.

    Raises:
        ValueError: no cell, or not a weight a cell.
    """
    if not cells or len(cells) != len(weights):
        raise ValueError(f"a contrast needs cells and a weight for each, got {len(cells)} cells and {list(weights)}")
    has_images = share_images(cells)
    tables = [_weigh(members, has_images) for members in _group_by_seeds(cells, weights)]
    return tables, tables[0].shape[1] if has_images else None


def make_estimate(
    *,
    value: float,
    seed_part: float | None,
    seed_df: float | None,
    noise_part: float | None,
    image_part: float,
    num_seeds: int,
    num_images: int | None,
    is_paired: bool,
    level: float,
) -> Estimate:
    """The estimate with these parts of its squared error; without a seed part it has no interval."""
    spread = reach = None
    if seed_part is not None and seed_df is not None:
        spread = Spread(seed_part, seed_df, image_part, num_images)
        reach = spread.reach(1.0 - level)
    return Estimate(
        value=value,
        low=None if reach is None else value - reach,
        high=None if reach is None else value + reach,
        se=None if spread is None else spread.se,
        df=None if spread is None else spread.df(1.0 - level),
        p=None if spread is None else spread.p(value),
        num_seeds=num_seeds,
        num_images=num_images,
        method=SEEDS_ONLY if num_images is None else SEED_AND_IMAGE,
        is_paired=is_paired,
        seed_part=seed_part,
        seed_df=seed_df,
        noise_part=noise_part,
        image_part=image_part,
        level=level,
    )


def _seed_part(by_seed: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Variance of the sum of means over independent sets of seeds, and its degrees of freedom (Welch's)."""
    parts = [_spread(rows) / len(rows) for rows in by_seed]
    total = math.fsum(parts)
    if total == 0.0:
        return 0.0, float(sum(len(rows) - 1 for rows in by_seed))
    squares = math.fsum(part**2 / (len(rows) - 1) for part, rows in zip(parts, by_seed, strict=True))
    return total, total**2 / squares


def _group_by_seeds(cells: Sequence[Replicates], weights: Sequence[float]) -> list[list[tuple[float, Replicates]]]:
    """Cells that share their seeds together, cut to the seeds that all share where some differ."""
    weighted = list(zip(weights, cells, strict=True))
    distinct = list(dict.fromkeys(frozenset(cell.seeds) for cell in cells))
    shared = frozenset.intersection(*distinct)
    are_apart = sum(map(len, distinct)) == len(frozenset.union(*distinct))
    if not are_apart and len(shared) >= 2:
        return [[(weight, cell.only(sorted(shared))) for weight, cell in weighted]]
    return [
        [(weight, cell.only(sorted(seeds))) for weight, cell in weighted if frozenset(cell.seeds) == seeds]
        for seeds in distinct
    ]


def share_images(cells: Sequence[Replicates]) -> bool:
    """Whether every cell has answers by image, all of one test set."""
    sizes = {cell.num_images for cell in cells}
    names = {cell.test_set for cell in cells} - {None}
    return len(sizes) == 1 and None not in sizes and len(names) <= 1 and max(size or 0 for size in sizes) > 1


def _weigh(members: Sequence[tuple[float, Replicates]], has_images: bool) -> NDArray[np.float64]:
    """[seeds, images] of the weighted sum, or [seeds, 1] of accuracies."""
    total = np.zeros(1)
    for weight, cell in members:
        values = cell.accs[:, None] if cell.is_correct is None or not has_images else cell.is_correct
        total = total + weight * values
    return total


def _image_part(tables: Sequence[NDArray[np.float64]], noise_part: float) -> float:
    """Variance of the sum of the tables' means that comes from the choice of images."""
    by_image = np.sum([table.mean(axis=0) for table in tables], axis=0)
    spread = float(np.var(by_image, ddof=1))
    return max(spread / len(by_image) - noise_part, 0.0)


def _spread(rows: NDArray[np.float64]) -> float:
    """Variance over seeds; 0 where they differ by rounding alone."""
    return 0.0 if float(np.ptp(rows)) <= ROUNDING else float(rows.var(ddof=1))


def _noise(y: NDArray[np.float64]) -> float:
    """Mean square of what neither the seed nor the image explains."""
    n, m = len(y), len(y[0])
    centred = y - y.mean()
    rows, columns = centred.mean(axis=1), centred.mean(axis=0)
    squares = float(np.vdot(centred, centred)) - m * float(rows @ rows) - n * float(columns @ columns)
    return max(squares, 0.0) / ((n - 1) * (m - 1))
