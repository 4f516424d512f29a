"""The training losses of a trial, epoch by epoch, in; the epochs at which the loss jumped and was still a number, out.

A flag for the reader and nothing else: no trial is stopped, and no number left out, for a spike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

NUM_BEFORE = 5
"""Epochs that a new one is held against."""
SMALLEST_JUMP = math.log(1.3)
"""A rise of less than 30 percent is no spike, however smooth the curve is."""
NOISE_RATIO = 6.0
"""A rise within this many times the usual change from epoch to epoch is noise."""


def find_spikes(losses: Sequence[float]) -> list[int]:
    """Indices of the epochs whose loss stands out above those before; the epochs of one spike count once.

    Args:
        losses: mean training loss of each epoch, in order, positive.
    """
    logs = [math.log(loss) if 0.0 < loss < math.inf else math.nan for loss in losses]
    found: list[int] = []
    for index in range(2, len(logs)):
        before = [value for value in logs[max(0, index - NUM_BEFORE) : index] if not math.isnan(value)]
        if len(before) < 2 or math.isnan(logs[index]):
            continue
        rise = logs[index] - median(before)
        is_jump = rise > SMALLEST_JUMP and rise > NOISE_RATIO * _usual_change(logs[:index])
        if is_jump and index - 1 not in found:
            found.append(index)
    return found


def _usual_change(logs: Sequence[float]) -> float:
    """Median size of the changes from epoch to epoch, the trend taken out."""
    changes = [b - a for a, b in pairwise(logs) if not math.isnan(a + b)]
    middle = median(changes)
    return median(abs(change - middle) for change in changes)
