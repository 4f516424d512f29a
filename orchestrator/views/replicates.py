"""Correct or not, by seed and image, in; `Replicates` out: what the seeds of one cell scored, as the statistics see it.

Bits by image are the better form: they let two cells be compared on the same images. Where only an accuracy a seed is
known, everything still works, and every answer says that it speaks of these test images alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Replicates:
    """The finished seeds of one cell; `score_images` and `score_seeds` make it."""

    seeds: tuple[int, ...]
    """Distinct, in the order of the rows."""
    accs: NDArray[np.float64]
    """[seeds], in any unit."""
    is_correct: NDArray[np.bool_] | None = None
    """[seeds, images]; None where the answers by image are not known."""
    test_set: str | None = None
    """Name of the test set; cells with two names are not paired on images."""

    @property
    def num_seeds(self) -> int:
        return len(self.seeds)

    @property
    def num_images(self) -> int | None:
        return None if self.is_correct is None else int(self.is_correct.shape[1])

    @property
    def mean(self) -> float:
        return float(self.accs.mean())

    def only(self, seeds: Sequence[int]) -> Replicates:
        """The rows of these seeds, in this order."""
        rows = [self.seeds.index(seed) for seed in seeds]
        bits = None if self.is_correct is None else self.is_correct[rows]
        return Replicates(tuple(seeds), self.accs[rows], bits, self.test_set)

    def without_images(self) -> Replicates:
        """The same seeds, known by their accuracies alone."""
        return Replicates(self.seeds, self.accs, None, self.test_set)


def score_images(is_correct: ArrayLike, seeds: Sequence[int] | None = None, test_set: str | None = None) -> Replicates:
    """The replicates of a cell from its answers by image.

    Args:
        is_correct: [seeds, images], whether this seed's model is right on this image.
        seeds: their values, 0, 1, ... by default; rows of two cells with equal seeds are paired.

    Raises:
        ValueError: not a matrix of 0 and 1 with a row and a column, or the seeds do not name its rows.

    >>> score_images([[1, 1, 0, 1], [1, 0, 0, 1]]).mean
    0.625
    """
    bits = np.asarray(is_correct)
    if bits.ndim != 2 or bits.size == 0 or (bits.dtype != bool and not np.isin(bits, (0, 1)).all()):
        raise ValueError(f"is_correct must be [seeds, images] of 0 and 1, got shape {bits.shape} of {bits.dtype}")
    bits = bits.astype(bool)
    return Replicates(_name_rows(seeds, len(bits)), bits.mean(axis=1), bits, test_set)


def score_seeds(accs: Sequence[float] | NDArray[np.float64], seeds: Sequence[int] | None = None) -> Replicates:
    """The replicates of a cell from one accuracy a seed.

    Raises:
        ValueError: no value, a value that is not finite, or seeds that do not name the values.
    """
    values = np.array([float(acc) for acc in accs])
    if not len(values) or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a cell needs finite accuracies, got {list(accs)}")
    return Replicates(_name_rows(seeds, len(values)), values)


def _name_rows(seeds: Sequence[int] | None, num_rows: int) -> tuple[int, ...]:
    names = tuple(range(num_rows)) if seeds is None else tuple(int(seed) for seed in seeds)
    if len(names) != num_rows or len(set(names)) != num_rows:
        raise ValueError(f"{num_rows} rows need as many distinct seeds, got {names}")
    return names
