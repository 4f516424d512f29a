"""Cells and weights in; an accuracy, a delta or any linear contrast with its interval out, over seeds and images both.

The estimand is accuracy over the population of test images, averaged over training randomness. So two things vary:
the seeds, and which images happened to be in the test set. With y[s, i] = mu + seed[s] + image[i] + noise[s, i]
(two-way random effects, Searle, Casella and McCulloch, *Variance Components*, 1992, chapter 4) the mean over n seeds
and m images has the squared standard error

    MS_seed / (n m)  +  max(MS_image - MS_noise, 0) / (n m)  =  seed part + image part.

A contrast over cells is the same thing of z = sum of weight * y, which pairs on seeds and images at once; where seeds
are not shared, each set of seeds adds a seed part of its own and the images stay paired.

Negative components. The seed component is never cut off: only MS_seed enters, which estimates n m times the seed part
whatever the sign of MS_seed - MS_noise; three seeds cannot tell a small component from none, and an interval that
dropped it would be too short. The image component is cut off at 0: its estimate rests on hundreds of images, and a
negative one would make the interval shorter than that of the seeds alone.

Degrees of freedom. Satterthwaite's (Biometrics Bulletin 2, 1946) are (V + W)^2 / (V^2 / (n - 1) + W^2 / (m - 1)) for a
seed part V and an image part W. With V as estimated, 95 % intervals of 3 seeds cover 92 % where V is nine tenths of
the whole: when V comes out small by chance, so does its weight in the formula, and the two errors go the same way. So
here V enters the formula (and only the formula) at its upper quartile, V (n - 1) / chi2(0.25, n - 1), which covers 94.9
to 96.3 % for every share of V at 3 seeds and more; without an image part it is Student's n - 1, or Welch's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri, stdtr, stdtrit

from orchestrator.views.replicates import Replicates

SEED_AND_IMAGE = "seed x image"
SEEDS_ONLY = "seeds only"
ROUNDING = 1e-12
"""Accuracies that differ by less are equal."""


@dataclass(frozen=True)
class VarianceComponents:
    """Analysis of variance of one [seeds, images] matrix; estimates without bias, so a component may be negative."""

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
    """Degrees of freedom of Student's t."""
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
    """Part of `se` squared that more seeds would make smaller."""
    image_part: float
    """Part of `se` squared that only more test images would make smaller."""
    level: float

    @property
    def half_width(self) -> float | None:
        return None if self.high is None else self.high - self.value

    def bound(self, level: float, *, is_upper: bool) -> float | None:
        """One-sided confidence bound; None where there is no interval."""
        if self.se is None or self.df is None:
            return None
        reach = float(stdtrit(self.df, level)) * self.se
        return self.value + (reach if is_upper else -reach)

    def one_sided_p(self, *, of_more_than: float = 0.0) -> float | None:
        """p of the true value being `of_more_than` or less; small where it is more."""
        if self.se is None or self.df is None:
            return None
        return _tail(self.value - of_more_than, self.se, self.df)


def variance_components(is_correct: ArrayLike) -> VarianceComponents:
    """Seed, image and noise components of a [seeds, images] matrix of numbers, by analysis of variance.

    Raises:
        ValueError: fewer than two rows or columns.
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
    """a - b, paired on the seeds and images that the two share."""
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
    seed_parts = [_spread(rows) / len(rows) if len(rows) > 1 else None for rows in by_seed]
    return _estimate(
        value=math.fsum(float(rows.mean()) for rows in by_seed),
        seed_parts=seed_parts,
        counts=[len(rows) for rows in by_seed],
        image_part=0.0 if num_images is None else _image_part(tables),
        num_images=num_images,
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


def _estimate(
    *,
    value: float,
    seed_parts: Sequence[float | None],
    counts: Sequence[int],
    image_part: float,
    num_images: int | None,
    level: float,
) -> Estimate:
    known = [part for part in seed_parts if part is not None]
    se = df = reach = p = seed_part = None
    if len(known) == len(seed_parts):
        seed_part = math.fsum(known)
        se = math.sqrt(seed_part + image_part)
        df = degrees_of_freedom(known, counts, image_part, num_images)
        reach = float(stdtrit(df, (1.0 + level) / 2.0)) * se
        p = min(1.0, 2.0 * _tail(abs(value), se, df))
    return Estimate(
        value=value,
        low=None if reach is None else value - reach,
        high=None if reach is None else value + reach,
        se=se,
        df=df,
        p=p,
        num_seeds=min(counts),
        num_images=num_images,
        method=SEEDS_ONLY if num_images is None else SEED_AND_IMAGE,
        is_paired=len(counts) == 1,
        seed_part=seed_part,
        image_part=image_part,
        level=level,
    )


def degrees_of_freedom(
    seed_parts: Sequence[float], counts: Sequence[int], image_part: float, num_images: int | None
) -> float:
    """Satterthwaite's degrees of freedom with the seed parts at their upper quartiles (see the module).

    Args:
        seed_parts: variance of the mean over each set of seeds.
        counts: number of seeds in each, at least 2.
    """
    quartiles = [part * (n - 1) / float(chdtri(n - 1, 0.75)) for part, n in zip(seed_parts, counts, strict=True)]
    if image_part == 0.0:
        quartiles = list(seed_parts)  # Student's and Welch's own, which need no help
    spread = math.fsum(part**2 / (n - 1) for part, n in zip(quartiles, counts, strict=True))
    spread += image_part**2 / (num_images - 1) if num_images is not None and num_images > 1 else 0.0
    total = math.fsum(quartiles) + image_part
    return total**2 / spread if spread > 0.0 else float(sum(counts) - len(counts))


def _tail(distance: float, se: float, df: float) -> float:
    """Probability beyond `distance`; without spread, any distance is certain."""
    if se == 0.0:
        return 0.5 if abs(distance) <= ROUNDING else 0.0 if distance > 0.0 else 1.0
    return float(stdtr(df, -distance / se))


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


def _image_part(tables: Sequence[NDArray[np.float64]]) -> float:
    """Variance of the sum of the tables' means that comes from the choice of images."""
    by_image = np.sum([table.mean(axis=0) for table in tables], axis=0)
    noise = math.fsum(_noise(table) / len(table) for table in tables if len(table) > 1)
    spread = float(np.var(by_image, ddof=1))
    return max(spread - noise, 0.0) / len(tables[0][0])


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
