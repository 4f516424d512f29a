"""The cells of one attention over depth in; the whole answer to "where does depth stop paying?" out.

Three answers are possible. *Saturated*: from some depth on, no deeper cell gains the margin or more; that is shown by
an equivalence test (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987, the side that matters: a
loss is no gain), never by a difference that failed to be significant. *Not saturated*: the deepest cell still gains on
the one before it, by a one-sided test.
*Cannot tell*: neither was shown; then `seeds_needed` says how many seeds would do, or that more test images would.

The depths are tested from the deepest gap upwards until one fails, and each against every deeper cell, so the
whole row errs at the level of one test: a fixed sequence of nested claims, each an intersection-union test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy.special import ndtri, stdtrit

from orchestrator.views.curve_fits import (
    MIN_SEEDS_FOR_INTERVALS,
    ExponentialFit,
    HingeFit,
    fit_exponential,
    fit_hinge,
)
from orchestrator.views.replicates import Replicates
from orchestrator.views.variance import Estimate, delta

DEFAULT_MARGIN = 0.003
"""0.3 points of accuracy: a gain below it counts as none."""

LARGE_N = 100
"""From so many seeds on Student's t is taken for normal."""


class Verdict(StrEnum):
    """What the data say about one curve."""

    SATURATED = "saturated"
    NOT_SATURATED = "not saturated"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Decline:
    """Whether the deepest cell is worse than a shallower one."""

    peak_depth: int
    """Depth of the highest mean."""
    drop: Estimate | None
    """Peak minus deepest; None where the peak is the deepest. Its own p overstates, for the peak was looked for."""
    p: float | None
    """One-sided, of no decline, corrected for having looked at every shallower depth; None without two seeds."""
    is_shown: bool
    """Whether p is below 1 - level."""


@dataclass(frozen=True)
class SaturationAnswer:
    """Where one attention stops paying for depth; accuracies in the unit they came in, depths in blocks."""

    verdict: Verdict
    saturated_from: int | None
    """The smallest depth that no deeper one beats by `margin` or more; None unless the verdict is `saturated`."""
    depths: tuple[int, ...]
    means: tuple[float, ...]
    last_gain: Estimate
    """Deepest minus the one before it."""
    hinge: HingeFit | None
    """None for two depths."""
    exponential: ExponentialFit | None
    decline: Decline
    margin: float
    level: float
    num_seeds: int
    """The smallest number at a depth."""
    num_diverged: int
    """Trials that diverged: they are in no mean."""
    method: str
    """As in `Estimate.method`."""
    seeds_needed: int | None
    """How many seeds would do where this many do not: for the intervals, and to show a gain of 0 to be below the margin
    4 times of 5. None where no more are needed, or where only more images would help."""
    is_limited_by_images: bool
    """Whether the margin is too small for this test set, whatever the number of seeds."""


def answer_saturation(
    cells: Mapping[int, Replicates],
    *,
    margin: float = DEFAULT_MARGIN,
    level: float = 0.95,
    num_diverged: int = 0,
) -> SaturationAnswer:
    """The whole answer for one curve.

    Args:
        cells: depth to what its finished seeds scored; at least 2 depths.
        margin: a gain below it counts as none; in the unit of the accuracies.
        level: of intervals; tests err at 1 - level.
        num_diverged: carried along.

    Raises:
        ValueError: fewer than two depths, a margin that is not positive, or a level outside (0, 1).
    """
    if len(cells) < 2 or margin <= 0.0 or not 0.0 < level < 1.0:
        raise ValueError(f"needs 2 depths, margin > 0, level in (0, 1); got {len(cells)}, {margin} and {level}")
    depths = sorted(cells)
    curve = [cells[depth] for depth in depths]
    last_gain = delta(curve[-1], curve[-2], level)
    start = _saturated_from(curve, margin, level)
    p = last_gain.one_sided_p()
    is_growing = p is not None and p < 1.0 - level
    verdict = Verdict.NOT_SATURATED if is_growing else Verdict.CANNOT_TELL
    verdict = verdict if start is None else Verdict.SATURATED
    num_seeds = min(cell.num_seeds for cell in curve)
    needed = _seeds_needed(last_gain, margin, level)
    is_undecided = verdict is Verdict.CANNOT_TELL
    return SaturationAnswer(
        verdict=verdict,
        saturated_from=None if start is None else depths[start],
        depths=tuple(depths),
        means=tuple(cell.mean for cell in curve),
        last_gain=last_gain,
        hinge=fit_hinge(depths, curve, level) if len(depths) > 2 else None,
        exponential=fit_exponential(depths, curve, level) if len(depths) > 2 else None,
        decline=find_decline(depths, curve, level),
        margin=margin,
        level=level,
        num_seeds=num_seeds,
        num_diverged=num_diverged,
        method=last_gain.method,
        seeds_needed=_more_seeds(num_seeds, needed, is_undecided),
        is_limited_by_images=is_undecided and needed is None,
    )


def saturated_from(
    cells: Mapping[int, Replicates], *, margin: float = DEFAULT_MARGIN, level: float = 0.95
) -> int | None:
    """The smallest depth from which no deeper cell gains `margin` or more, None where that is not shown."""
    depths = sorted(cells)
    start = _saturated_from([cells[depth] for depth in depths], margin, level)
    return None if start is None else depths[start]


def find_decline(depths: Sequence[int], curve: Sequence[Replicates], level: float = 0.95) -> Decline:
    """Test of a decline after a peak: the deepest cell against every shallower one, one-sided, Bonferroni-corrected.

    Valid whatever the shape; a curve that never falls gives a false alarm at most at 1 - `level`.
    """
    means = [cell.mean for cell in curve]
    peak = max(range(len(means)), key=lambda index: means[index])
    drops = [delta(cell, curve[-1], level) for cell in curve[:-1]]
    found = [p for p in (drop.one_sided_p() for drop in drops) if p is not None]
    p = min(1.0, len(drops) * min(found)) if found else None
    return Decline(
        peak_depth=depths[peak],
        drop=drops[peak] if peak < len(drops) else None,
        p=p,
        is_shown=p is not None and p < 1.0 - level,
    )


def _saturated_from(curve: Sequence[Replicates], margin: float, level: float) -> int | None:
    """Index of the shallowest cell that no deeper one beats by `margin`, going up from the deepest pair."""
    start = None
    for shallow in range(len(curve) - 2, -1, -1):
        bounds = [delta(deep, curve[shallow], level).bound(level, is_upper=True) for deep in curve[shallow + 1 :]]
        if any(bound is None or bound >= margin for bound in bounds):
            break
        start = shallow
    return start


def _seeds_needed(gain: Estimate, margin: float, level: float, power: float = 0.8) -> int | None:
    """Seeds with which a true gain of 0 is shown to be below `margin` with this power; None where none suffices."""
    if gain.seed_part is None:
        return MIN_SEEDS_FOR_INTERVALS
    spread = gain.seed_part * gain.num_seeds
    for n in range(2, LARGE_N):
        reach = float(stdtrit(n - 1, level) + stdtrit(n - 1, power))
        if reach * (spread / n + gain.image_part) ** 0.5 < margin:
            return n
    normal = float(ndtri(level) + ndtri(power))
    room = (margin / normal) ** 2 - gain.image_part
    return math.ceil(spread / room) if room > 0.0 else None


def _more_seeds(num_seeds: int, needed: int | None, is_undecided: bool) -> int | None:
    """The number to suggest, None where there are enough."""
    wanted = max(needed, MIN_SEEDS_FOR_INTERVALS) if is_undecided and needed is not None else MIN_SEEDS_FOR_INTERVALS
    return wanted if wanted > num_seeds else None
