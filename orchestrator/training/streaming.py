"""Totals and counts of batches in; means out. All that a probe keeps of a batch, in float64.

A mean over no count is NaN: what was not measured is absent, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Totals = Mapping[str, tuple[Tensor, Tensor]]
"""By name: what was summed over a batch, and how many terms each sum has; float64, of shapes that broadcast."""


class Means:
    """Sums of any number of batches; its size does not depend on how many there were."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, totals: Totals, prefix: str = "") -> None:
        """Add the totals of one batch; `prefix` goes before each name."""
        for name, (total, count) in totals.items():
            before = self.sums.get(prefix + name)
            total, count = total.double(), count.double()
            self.sums[prefix + name] = (total, count) if before is None else (before[0] + total, before[1] + count)

    def results(self) -> dict[str, NDArray[np.float64]]:
        """Every mean, NaN where nothing was counted."""
        return {name: (total / _nan_for_zero(count)).cpu().numpy() for name, (total, count) in self.sums.items()}


def _nan_for_zero(count: Tensor) -> Tensor:
    return torch.where(count > 0, count, torch.full_like(count, torch.nan))


def times(value: int | float, like: Tensor) -> Tensor:
    """A count as a tensor beside its total."""
    return torch.tensor(float(value), dtype=torch.float64, device=like.device)
