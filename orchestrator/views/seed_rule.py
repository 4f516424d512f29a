"""Accuracies of the seeds of all cells in; how well each cell is known, and whether a rule for the seeds is met, out.

Half the width of a cell's 95 % interval is t * s / sqrt(n), Student's. s is the standard deviation pooled over all
cells of the sweep, with their degrees of freedom together. A cell of 6 seeds or more has its own, and so has one whose
seeds spread further than the other cells' (F test, 5 %). A cell that stopped at its own spread would stop when that
happens to be small, and such intervals cover too little; a spread of many cells hardly moves with one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import fdtri, stdtrit

from orchestrator.views.sentences import name_some, quote

OWN_FROM = 6
"""Seeds from which a cell's own standard deviation is used."""
SPREADS_FURTHER_AT = 0.95
"""Quantile of Fisher's F from which a cell's variance over that of the others is no accident."""
LEVEL = 0.95
POOLED_SEEDS = "seeds, pooled spread"
"""How such an interval is called in the column `method`."""


@dataclass(frozen=True)
class Pooled:
    """The standard deviation over seeds that cells have in common."""

    sd: float
    df: int
    """0 where no cell has two seeds; `sd` is no number then."""


def pool(accs: Mapping[str, Sequence[float]]) -> Pooled:
    """The squares of all cells' deviations from their means, over their degrees of freedom."""
    known = [np.asarray(values, dtype=np.float64) for values in accs.values() if len(values) > 1]
    df = sum(len(values) - 1 for values in known)
    if df == 0:
        return Pooled(math.nan, 0)
    return Pooled(math.sqrt(sum(float(((v - v.mean()) ** 2).sum()) for v in known) / df), df)


def half_widths(accs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Half the width of each cell's interval, in the unit of the accuracies; infinite where nothing tells it.

    >>> widths = half_widths({"a": [0.90, 0.92], "b": [0.94, 0.96]})
    >>> [round(width, 4) for width in widths.values()]  # s = 0.0141, 2 degrees of freedom
    [0.043, 0.043]
    """
    pooled = pool(accs)
    return {cell: _half_width(values, pooled) for cell, values in accs.items()}


def _half_width(values: Sequence[float], pooled: Pooled) -> float:
    own = pool({"": values})
    known = own if len(values) >= OWN_FROM or _spreads_further(own, pooled) else pooled
    if not values or known.df == 0:
        return math.inf
    return float(stdtrit(known.df, (1.0 + LEVEL) / 2.0)) * known.sd / math.sqrt(len(values))


def _spreads_further(own: Pooled, pooled: Pooled) -> bool:
    """Whether the variance of a cell is larger than that of all others together."""
    df = pooled.df - own.df
    if own.df == 0 or df == 0:
        return False
    others = (pooled.sd**2 * pooled.df - own.sd**2 * own.df) / df
    return own.sd**2 > others * float(fdtri(own.df, df, SPREADS_FURTHER_AT))


def say_rule(rule: Mapping[str, Any], cells: pd.DataFrame, accs: Mapping[str, Sequence[float]]) -> list[str]:
    """What the rule asks for and how far it is met, in sentences.

    Args:
        cells: as `summarize_cells` makes it.
        accs: accuracies of the trials that its means hold, by `cell_id`.
    """
    target, pooled, widths = rule["ci_half_width"], pool(accs), half_widths(accs)
    asked = (
        f"Seeds by a rule: {rule['min']} to {rule['max']} a cell, until the 95 % interval of its test accuracy reaches "
        f"at most {target * 100:g} points to either side. The standard deviation is pooled over the cells"
    )
    spread = f" ({pooled.sd * 100:.2f} points, {pooled.df} degrees of freedom)" if pooled.df else ""
    labels = dict(zip(cells["cell_id"].tolist(), cells["label"].tolist(), strict=True))
    wide = {cell: widths.get(cell, math.inf) for cell in labels if widths.get(cell, math.inf) > target}
    told = [
        f"{asked}{spread}, a cell's own from {OWN_FROM} seeds on or where it is larger than the others' (F test, 5 %)."
    ]
    if not wide:
        counts = [len(accs[cell]) for cell in labels]
        told.append(f"All {len(labels)} cells meet it, with {sum(counts) / max(len(counts), 1):.1f} seeds on average.")
        return told
    names = [
        f"{quote(str(labels[cell]))} ({'no interval' if math.isinf(width) else f'{width * 100:.2f}'}, "
        f"{len(accs.get(cell, ()))} seeds)"
        for cell, width in sorted(wide.items(), key=lambda entry: -entry[1])
    ]
    told.append(f"{len(wide)} of {len(labels)} cells do not meet it: {name_some(names)}.")
    return told
