"""Depths and accuracies in; the hinge a + b min(L, k) and the exponential a - b exp(-(L - L0) / c) out.

Both forms are linear once their shape (the knee k, the scale c) is fixed, so the shape is profiled: on a grid, and for
the hinge exactly within each gap between depths. Growth is not negative: a curve that falls has no gain, and its knee
stands at the smallest depth.

Intervals hold every value that a likelihood-ratio test does not reject. For the knee these are the fits whose weighted
sum of squares lies within the 95 % quantile of F(1, n - 1) of the best: it is no smooth parameter, so no t interval is
made for it (Muggeo, Statistics in Medicine 22, 2003, on profiles in segmented regression), and a knee near the end of
the range rests on one depth, whose spread is known from n seeds; with the degrees of freedom of all depths together
88 % are covered where deep networks are three times as noisy. The asymptote is read off the joint region of asymptote
and scale, 2 F(2, df): the one-parameter region covers 91 to 93 % where the noise is that of a few hundred images,
because the two can hardly be told apart. The guide to the statistics shows how often both hold the truth in simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import fdtri

from orchestrator.views.curve_noise import CurvePoints, read_points
from orchestrator.views.replicates import Replicates

Array = NDArray[np.float64]

MIN_SEEDS_FOR_INTERVALS = 6
"""With fewer seeds no interval of a knee or an asymptote is given: none that was tried covers."""

STEPS_BETWEEN_DEPTHS = 60
NUM_SCALES = 240
LONGEST_SCALE = 4.0
"""In ranges of depth; an exponential that slow is a straight line within the range."""


@dataclass(frozen=True)
class Interval:
    """The ends of a confidence interval; an end that is None lies outside the range of depths: it is not bounded."""

    low: float | None
    high: float | None
    level: float


@dataclass(frozen=True)
class HingeFit:
    """a + b min(L, k), in the unit of the accuracies and in blocks."""

    knee: float
    """k, in blocks: beyond it depth gains nothing."""
    plateau: float
    """a + b k."""
    slope: float
    """b, per block, before the knee."""
    intercept: float
    """a."""
    sse: float
    """Sum of squared residuals, one a depth."""
    is_reached: bool
    """Whether the knee lies inside the range; if not, `knee` is the largest depth."""
    knee_interval: Interval | None
    """None without at least 6 seeds; its `high` is None where a knee beyond the range is not excluded."""


@dataclass(frozen=True)
class ExponentialFit:
    """a - b exp(-(L - L0) / c) with L0 the smallest depth, in the unit of the accuracies and in blocks."""

    asymptote: float
    """a: what unlimited depth would give, if the form held."""
    amplitude: float
    """b: what is gained from the smallest depth to unlimited depth."""
    scale: float
    """c, in blocks: depth over which the remaining gain falls to 37 %."""
    sse: float
    """Sum of squared residuals, one a depth."""
    is_reached: bool
    """Whether the curve bends enough within the range to say where it goes."""
    asymptote_interval: Interval | None
    """None without at least 6 seeds; its `high` is None where a straight line is not excluded."""


def fit_hinge(
    depth: Sequence[float], acc: Sequence[float | Sequence[float] | Replicates], level: float = 0.95
) -> HingeFit:
    """Least squares of a + b min(L, k) with b >= 0 and k within the range of depths.

    Args:
        depth: distinct numbers of blocks, at least 3.
        acc: for each depth an accuracy, or the accuracies of its seeds, or its `Replicates`, in any unit.

    Raises:
        ValueError: fewer than 3 depths, a depth twice, values that are not finite, or not one a depth.

    >>> fit = fit_hinge([12, 16, 24, 32], [77.6, 78.88, 79.35, 79.27])
    >>> round(fit.knee, 1), round(fit.plateau, 2), fit.knee_interval
    (17.3, 79.31, None)
    """
    points = read_points(depth, acc)
    knee, (a, b) = _best_hinge(points)
    interval = None
    if points.num_seeds >= MIN_SEEDS_FOR_INTERVALS:
        interval = _knee_interval(points, knee, level)
    return HingeFit(
        knee=knee,
        plateau=a + b * knee,
        slope=b,
        intercept=a,
        sse=_sse(points, a + b * np.minimum(points.depth, knee)),
        is_reached=bool(knee < points.depth[-1]),
        knee_interval=interval,
    )


def fit_exponential(
    depth: Sequence[float], acc: Sequence[float | Sequence[float] | Replicates], level: float = 0.95
) -> ExponentialFit:
    """Least squares of a - b exp(-(L - L0) / c) with b >= 0 and c at most four ranges of depth.

    Arguments and errors are those of `fit_hinge`.

    >>> fit = fit_exponential([12, 16, 24, 32], [77.9, 79.10, 79.99, 80.90])
    >>> round(fit.asymptote, 2), round(fit.scale, 1)
    (81.62, 13.1)
    """
    points = read_points(depth, acc)
    scales = _scales(points.depth)
    scale = _best_scale(points, scales)
    design = _bend(points.depth, np.array([scale]))
    (a,), (slope,), (best,), _ = _profile(points, design, is_falling=True)
    interval = None
    if points.num_seeds >= MIN_SEEDS_FOR_INTERVALS:
        near = scale * np.geomspace(0.8, 1.25, NUM_SCALES)
        interval = _asymptote_interval(points, np.union1d(scales, near[near < scales[-1]]), float(best), level)
    return ExponentialFit(
        asymptote=float(a),
        amplitude=abs(float(slope)),
        scale=float(scale),
        sse=_sse(points, a + slope * design[0]),
        is_reached=bool(slope == 0.0 or scale < 0.999 * scales[-1]),
        asymptote_interval=interval,
    )


def _best_hinge(points: CurvePoints) -> tuple[float, tuple[float, float]]:
    """The knee and (a, b) of the best hinge; exact, by gap between depths."""
    knots = points.depth
    inner = [_knee_between(points, gap) for gap in range(len(knots) - 1)]
    knees = np.array([*knots, *(knee for knee in inner if knee is not None)])
    intercepts, slopes, squares, _ = _profile(points, np.minimum(knots, knees[:, None]), is_rising=True)
    flat = slopes <= 0.0
    order = np.lexsort((knees, np.round(squares / max(float(squares.max()), 1e-300), 12)))
    best = int(order[0])
    knee = float(knots[0]) if flat[best] else float(knees[best])
    return knee, (float(intercepts[best]), float(slopes[best]))


def _knee_between(points: CurvePoints, gap: int) -> float | None:
    """Where the line through the depths up to `gap` meets the level of those behind it, if that is in the gap."""
    if gap == 0:
        return None  # one point carries no line: every knee in the first gap fits alike, its end stands for all
    before = np.arange(len(points.depth)) <= gap
    design = np.stack([before, before * points.depth, ~before], axis=1).astype(np.float64)
    a, b, level = np.linalg.lstsq(points.whiten @ design, points.whiten @ points.mean, rcond=None)[0]
    if b <= 0.0:
        return None
    knee, rounding = float((level - a) / b), 1e-6 * float(points.depth[gap + 1] - points.depth[gap])
    return knee if points.depth[gap] + rounding < knee < points.depth[gap + 1] - rounding else None


def _knee_interval(points: CurvePoints, knee: float, level: float) -> Interval:
    """From the smallest to the largest knee that is not rejected, both ends exact."""
    steps = [
        np.linspace(a, b, STEPS_BETWEEN_DEPTHS, endpoint=False)
        for a, b in zip(points.depth[:-1], points.depth[1:], strict=True)
    ]
    knees = np.unique([*np.concatenate(steps), points.depth[-1], knee])
    limit = _hinge_squares(points, np.array([knee]))[0] + float(fdtri(1, points.num_seeds - 1, level))

    def excess(tried: float) -> float:
        return float(_hinge_squares(points, np.array([tried]))[0] - limit)

    kept = np.flatnonzero(_hinge_squares(points, knees) <= limit)
    first, last = int(kept[0]), int(kept[-1])
    low = None if first == 0 else _crossing(excess, knees[first], knees[first - 1])
    high = None if last == len(knees) - 1 else _crossing(excess, knees[last], knees[last + 1])
    return Interval(low=low, high=high, level=level)


def _crossing(excess: Callable[[float], float], kept: float, rejected: float) -> float:
    """Where `excess` changes its sign; the kept knee itself where seeds without spread leave nothing but rounding."""
    if excess(kept) >= 0.0 or excess(rejected) <= 0.0:
        return float(kept)
    return float(brentq(excess, kept, rejected))


def _hinge_squares(points: CurvePoints, knees: Array) -> Array:
    return _profile(points, np.minimum(points.depth, knees[:, None]), is_rising=True)[2]


def _scales(depth: Array) -> Array:
    """Scales to try, from a step right behind the first depth to a straight line."""
    shortest = float(depth[1] - depth[0]) / 20.0
    return np.geomspace(shortest, LONGEST_SCALE * float(depth[-1] - depth[0]), NUM_SCALES)


def _bend(depth: Array, scales: Array) -> Array:
    """[scales, depths] of exp(-(L - L0) / c)."""
    bend: Array = np.exp(-(depth - depth[0]) / scales[:, None])
    return bend


def _best_scale(points: CurvePoints, scales: Array) -> float:
    squares = _profile(points, _bend(points.depth, scales), is_falling=True)[2]
    at = int(np.argmin(squares))
    low, high = scales[max(at - 1, 0)], scales[min(at + 1, len(scales) - 1)]
    found = minimize_scalar(
        lambda scale: float(_profile(points, _bend(points.depth, np.array([scale])), is_falling=True)[2][0]),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6 * float(high)},
    )
    return float(found.x) if found.fun < squares[at] else float(scales[at])


def _asymptote_interval(points: CurvePoints, scales: Array, best: float, level: float) -> Interval:
    """All asymptotes that some scale makes fit; not bounded above where the straightest line fits too."""
    asymptotes, slopes, squares, variances = _profile(points, _bend(points.depth, scales))
    room = _joint_limit(points, level) - (squares - best)
    rising = (room >= 0.0) & (slopes < 0.0)
    reach = np.sqrt(np.maximum(room, 0.0) * variances)
    ends = [(asymptotes - reach)[rising], (asymptotes + reach)[rising]]
    flat, _, flat_squares, flat_variance = _profile(points, np.zeros((1, len(points.depth))))
    flat_room = _joint_limit(points, level) - (flat_squares - best)
    if flat_room[0] >= 0.0:
        reach = np.sqrt(flat_room * flat_variance)
        ends = [np.append(ends[0], flat - reach), np.append(ends[1], flat + reach)]
    is_open = bool(rising[-1])
    return Interval(low=float(ends[0].min()), high=None if is_open else float(ends[1].max()), level=level)


def _profile(
    points: CurvePoints, shapes: Array, *, is_rising: bool = False, is_falling: bool = False
) -> tuple[Array, Array, Array, Array]:
    """For each row of `shapes`, [shapes, depths], the weighted fit of a + b shape: a, b, sum of squares, variance of a.

    A shape without variation, or a sign of b that is not allowed, gives the constant.
    """
    y, one, x = points.whiten @ points.mean, points.whiten.sum(axis=1), shapes @ points.whiten.T
    n, sx, sxx, sy = one @ one, x @ one, np.einsum("kd,kd->k", x, x), float(one @ y)
    spread = sxx - sx**2 / n
    is_flat = spread <= 1e-12 * np.maximum(sxx, 1e-300)
    safe = np.where(is_flat, 1.0, spread)
    slope: Array = np.where(is_flat, 0.0, (x @ y - sx * sy / n) / safe)
    if is_rising or is_falling:
        slope = np.where(slope < 0.0 if is_rising else slope > 0.0, 0.0, slope)
    intercept = (sy - slope * sx) / n
    rest = y - intercept[:, None] * one - slope[:, None] * x
    variance = np.where(is_flat, 1.0 / n, sxx / (n * safe))
    return intercept, slope, np.einsum("kd,kd->k", rest, rest), variance


def _joint_limit(points: CurvePoints, level: float) -> float:
    """How much worse than the best a fit of two parameters may be."""
    return 2.0 * float(fdtri(2, points.df, level))


def _sse(points: CurvePoints, fitted: Array) -> float:
    return float(((points.mean - fitted) ** 2).sum())
