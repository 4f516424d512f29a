"""Labels and a fraction in; which rows are held out, out: stratified, and the same for every trial.

The draw has a key of its own and reads raw bits of PCG64, whose stream numpy guarantees, so neither a trial's seed nor
a library's version moves an image from one split to another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError
from orchestrator.seeding import stream_seed


@dataclass(frozen=True)
class Share:
    """Rows of one set, ascending, in two parts that cover it."""

    kept: NDArray[np.int64]
    held_out: NDArray[np.int64]


def stratified_share(labels: NDArray[np.int64], fraction: float, purpose: str, name: str = "the dataset") -> Share:
    """Hold out `fraction` of the rows, the same fraction of each label to within one row, at least one of each.

    Args:
        labels: [N], any integers.
        fraction: above 0, below 1.
        purpose: names the draw; shares of different purposes are independent.
        name: of the dataset, for the message.

    Raises:
        DataError: a label has a single row, so it cannot stand in both parts.
    """
    classes, class_of_row, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        raise DataError(
            f"{name}: label {classes[counts.argmin()]} has only one image, too few to hold out a share of {fraction:g} "
            f"for {purpose}; add images of it, or set the fraction to 0 if nothing is selected"
        )
    keys = np.random.PCG64(stream_seed(0, "split", purpose)).random_raw(len(labels))
    is_held_out = np.zeros(len(labels), dtype=bool)
    for class_idx, num_held_out in enumerate(_quotas(counts, fraction)):
        rows = np.flatnonzero(class_of_row == class_idx)
        is_held_out[rows[np.argsort(keys[rows], kind="stable")[:num_held_out]]] = True
    return Share(kept=np.flatnonzero(~is_held_out), held_out=np.flatnonzero(is_held_out))


def _quotas(counts: NDArray[np.int64], fraction: float) -> NDArray[np.int64]:
    """Rows to hold out of each class: largest remainders, so that they add up to the rounded share of all rows."""
    exact = counts * fraction
    quotas = np.floor(exact).astype(np.int64)
    num_missing = round(float(counts.sum() * fraction)) - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[: max(0, num_missing)]] += 1
    clipped: NDArray[np.int64] = np.clip(quotas, 1, counts - 1)
    return clipped
