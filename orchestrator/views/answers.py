"""The arms of a sweep in; where depth stops paying for each, and how the compared arms differ, out.

Intervals are two-way over seeds and test images where predictions by image were kept, over seeds alone elsewhere.
Holm's correction runs over the depths of one pair; the pooled contrast and the difference in differences are one
question each and stand unadjusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from orchestrator.views.arms import Arm, Pair, find_pairs
from orchestrator.views.stats import (
    DEFAULT_MARGIN,
    BootstrapInterval,
    Estimate,
    Improvement,
    Replicates,
    SaturationAnswer,
    SignFlip,
    answer_saturation,
    crossed_bootstrap,
    delta,
    difference_in_differences,
    holm,
    pooled_delta,
    probability_of_improvement,
    sign_flip,
    smallest_detectable,
)

MAX_ARMS = 200
"""Curves that are asked where depth stops paying."""
MAX_PAIRS = 50
"""Pairs of curves that are compared: who asks more questions at once than can be read has asked none."""


@dataclass(frozen=True)
class Difference:
    """One difference a - b with all that is said about it; in shares, not points."""

    estimate: Estimate
    sign_flip: SignFlip | None
    """None without two shared seeds."""
    detectable: float | None
    """Smallest true difference that this design finds 4 times of 5; None without an interval."""
    bootstrap: BootstrapInterval | None
    """The crossed bootstrap as a check; None for single seeds."""


@dataclass(frozen=True)
class DepthDelta:
    """a - b at one depth."""

    depth: int
    difference: Difference
    holm_p: float | None
    """p of the paired t test, corrected over the depths of the pair."""
    improvement: Improvement


@dataclass(frozen=True)
class Comparison:
    """Two arms, depth by depth and as a whole."""

    pair: Pair
    deltas: tuple[DepthDelta, ...]
    pooled: Difference | None
    """Mean of a - b over the depths; None for fewer than two."""
    did: Difference | None
    """(a deep - a shallow) - (b deep - b shallow), between the ends of the shared depths; None for fewer than two."""


@dataclass(frozen=True)
class Answers:
    """What a sweep says."""

    arms: tuple[Arm, ...]
    saturation: tuple[tuple[Arm, SaturationAnswer], ...]
    """For each arm with at least two depths."""
    comparisons: tuple[Comparison, ...]
    margin: float
    """A gain below it counts as none."""
    num_not_asked: int = 0
    """Curves over depth beyond `MAX_ARMS`, which are in no answer."""
    has_more_pairs: bool = False
    """Whether pairs beyond `MAX_PAIRS` are not compared."""

    @property
    def has_images(self) -> bool:
        """Whether every cell kept its predictions by image."""
        cells = [cell for arm in self.arms for cell in arm.cells.values()]
        return bool(cells) and all(cell.num_images is not None for cell in cells)


def find_answers(arms: Sequence[Arm], *, margin: float = DEFAULT_MARGIN) -> Answers:
    """Everything that the arms can be asked; of very many, the first ones in the order of the spec."""
    measured = [arm for arm in arms if arm.cells]
    curved = [arm for arm in measured if len(arm.cells) > 1]
    saturation = tuple(
        (arm, answer_saturation(arm.cells, margin=margin, num_diverged=arm.num_diverged)) for arm in curved[:MAX_ARMS]
    )
    pairs = list(islice((pair for pair in find_pairs(measured) if pair.depths), MAX_PAIRS + 1))
    return Answers(
        arms=tuple(arms),
        saturation=saturation,
        comparisons=tuple(compare_arms(pair) for pair in pairs[:MAX_PAIRS]),
        margin=margin,
        num_not_asked=max(0, len(curved) - MAX_ARMS),
        has_more_pairs=len(pairs) > MAX_PAIRS,
    )


def compare_arms(pair: Pair) -> Comparison:
    """One pair of arms at every depth that both have, and over all of them."""
    depths = pair.depths
    cells = [(pair.a.cells[depth], pair.b.cells[depth]) for depth in depths]
    found = [_difference(delta(a, b), [a, b], [1.0, -1.0]) for a, b in cells]
    adjusted = holm([difference.estimate.p for difference in found])
    deltas = tuple(
        DepthDelta(depth, difference, p, probability_of_improvement(list(a.accs), list(b.accs)))
        for depth, difference, p, (a, b) in zip(depths, found, adjusted, cells, strict=True)
    )
    pooled = did = None
    if len(depths) > 1:
        weights = [1.0 / len(depths), -1.0 / len(depths)] * len(depths)
        pooled = _difference(pooled_delta(cells), [cell for two in cells for cell in two], weights)
        (a_shallow, b_shallow), (a_deep, b_deep) = cells[0], cells[-1]
        estimate = difference_in_differences(a_shallow, a_deep, b_shallow, b_deep)
        did = _difference(estimate, [a_deep, a_shallow, b_deep, b_shallow], [1.0, -1.0, -1.0, 1.0])
    return Comparison(pair, deltas, pooled, did)


def _difference(estimate: Estimate, cells: Sequence[Replicates], weights: Sequence[float]) -> Difference:
    has_spread = estimate.se is not None and estimate.df is not None
    return Difference(
        estimate=estimate,
        sign_flip=_flip(cells, weights),
        detectable=smallest_detectable(estimate.se or 0.0, estimate.df or 1.0) if has_spread else None,
        bootstrap=crossed_bootstrap(cells, weights) if has_spread else None,
    )


def _flip(cells: Sequence[Replicates], weights: Sequence[float]) -> SignFlip | None:
    """Over the weighted sums of the seeds that all cells share."""
    shared = sorted(set.intersection(*(set(cell.seeds) for cell in cells)))
    if len(shared) < 2:
        return None
    sums = sum(weight * cell.only(shared).accs for weight, cell in zip(weights, cells, strict=True))
    return sign_flip(list(np.asarray(sums)))
