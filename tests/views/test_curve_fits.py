"""Fits against the published points, exact curves, and a search over all knees."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.views.curve_fits import MIN_SEEDS_FOR_INTERVALS, fit_exponential, fit_hinge
from orchestrator.views.replicates import score_images, score_seeds

DEPTHS = [4, 6, 8, 12, 16, 24, 32]
PUBLISHED = [12, 16, 24, 32]
VIT, DEEPVIT = [77.6, 78.88, 79.35, 79.27], [77.9, 79.10, 79.99, 80.90]
"""DeepViT, README and figure: top-1 on ImageNet-1k at these depths."""

ACCS = st.lists(st.floats(0.0, 100.0), min_size=4, max_size=4)


def test_the_published_points_give_the_hinges_derived_from_them() -> None:
    vit, deepvit = fit_hinge(PUBLISHED, VIT), fit_hinge(PUBLISHED, DEEPVIT)
    assert (vit.knee, vit.plateau, vit.slope) == pytest.approx((17.3, 79.31, 0.320), abs=0.05)
    assert (deepvit.knee, deepvit.plateau, deepvit.slope) == pytest.approx((28.8, 80.90, 0.166), abs=0.06)
    assert (vit.sse, deepvit.sse) == pytest.approx((0.003, 0.163), abs=5e-4)


def test_the_published_points_give_the_exponentials_derived_from_them() -> None:
    vit, deepvit = fit_exponential(PUBLISHED, VIT), fit_exponential(PUBLISHED, DEEPVIT)
    assert (vit.asymptote, vit.scale) == pytest.approx((79.32, 2.9), abs=0.05)
    assert (deepvit.asymptote, deepvit.scale) == pytest.approx((81.62, 13.1), abs=0.05)
    assert (vit.sse, deepvit.sse) == pytest.approx((0.006, 0.068), abs=5e-4)


def test_single_values_have_no_interval() -> None:
    assert fit_hinge(PUBLISHED, VIT).knee_interval is None
    assert fit_exponential(PUBLISHED, VIT).asymptote_interval is None


@given(knee=st.floats(7.0, 31.0), slope=st.floats(0.001, 1.0), start=st.floats(-1.0, 1.0))
def test_an_exact_hinge_is_found_again(knee: float, slope: float, start: float) -> None:
    assume(min(abs(knee - depth) for depth in DEPTHS) > 0.01)
    found = fit_hinge(DEPTHS, [start + slope * min(depth, knee) for depth in DEPTHS])
    assert (found.knee, found.slope, found.intercept) == pytest.approx((knee, slope, start), rel=1e-6, abs=1e-6)
    assert found.plateau == pytest.approx(start + slope * knee)
    assert found.is_reached


@given(scale=st.floats(1.0, 40.0), gain=st.floats(0.01, 10.0))
def test_an_exact_exponential_is_found_again(scale: float, gain: float) -> None:
    found = fit_exponential(DEPTHS, [5.0 - gain * math.exp(-(depth - 4) / scale) for depth in DEPTHS])
    assert (found.asymptote, found.amplitude, found.scale) == pytest.approx((5.0, gain, scale), rel=1e-3)


@given(accs=ACCS)
def test_no_other_knee_fits_better(accs: list[float]) -> None:
    found = fit_hinge(PUBLISHED, accs)
    for knee in np.linspace(12.0, 32.0, 81):
        design = np.stack([np.ones(4), np.minimum(PUBLISHED, knee)], axis=1)
        values = np.linalg.lstsq(design, np.array(accs), rcond=None)[0]
        if values[1] >= 0.0:
            assert found.sse <= ((design @ values - accs) ** 2).sum() * (1 + 1e-9) + 1e-9


@given(accs=ACCS, unit=st.sampled_from([0.01, 100.0]), shift=st.floats(-5.0, 5.0))
def test_another_unit_moves_no_knee(accs: list[float], unit: float, shift: float) -> None:
    assume(np.ptp(accs) > 0.1)
    there, here = fit_hinge(PUBLISHED, accs), fit_hinge(PUBLISHED, [unit * (acc + shift) for acc in accs])
    assert here.sse == pytest.approx(unit**2 * there.sse, rel=1e-6, abs=1e-6 * unit**2)
    assert here.plateau == pytest.approx(unit * (there.plateau + shift), rel=1e-5, abs=1e-5 * unit)


def test_the_order_of_the_depths_changes_nothing() -> None:
    assert fit_hinge(PUBLISHED[::-1], VIT[::-1]) == fit_hinge(PUBLISHED, VIT)


def test_a_straight_line_has_reached_nothing_and_a_falling_one_gains_nothing() -> None:
    rising, falling = fit_hinge(PUBLISHED, PUBLISHED), fit_hinge(PUBLISHED, PUBLISHED[::-1])
    assert (rising.knee, rising.is_reached, rising.slope) == (32.0, False, pytest.approx(1.0))
    assert (falling.knee, falling.slope, falling.plateau) == (12.0, 0.0, pytest.approx(21.0))
    assert not fit_exponential(PUBLISHED, PUBLISHED).is_reached
    assert fit_exponential(PUBLISHED, PUBLISHED[::-1]).amplitude == 0.0


def noisy(curve: list[float], num_seeds: int, sd: float, seed: int = 0) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    return [(value + sd * rng.normal(size=num_seeds)).tolist() for value in curve]


def test_six_seeds_give_intervals_around_the_truth_and_five_give_none() -> None:
    hinge = [0.70 + 0.006 * min(depth, 14) for depth in DEPTHS]
    found = fit_hinge(DEPTHS, noisy(hinge, 6, 0.002)).knee_interval
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 11 < found.low < 14 < found.high < 17
    assert fit_hinge(DEPTHS, noisy(hinge, MIN_SEEDS_FOR_INTERVALS - 1, 0.002)).knee_interval is None
    assert fit_exponential(DEPTHS, noisy(hinge, 5, 0.002)).asymptote_interval is None


def test_more_noise_widens_an_interval() -> None:
    hinge = [0.70 + 0.006 * min(depth, 14) for depth in DEPTHS]
    narrow, wide = (fit_hinge(DEPTHS, noisy(hinge, 6, sd)).knee_interval for sd in (0.001, 0.004))
    assert narrow is not None
    assert wide is not None
    assert (wide.low or 4.0) < (narrow.low or 4.0) < (narrow.high or 32.0) < (wide.high or 32.0)


def test_a_curve_that_still_grows_has_a_knee_without_upper_end() -> None:
    found = fit_hinge(DEPTHS, noisy([0.70 + 0.003 * depth for depth in DEPTHS], 6, 0.003)).knee_interval
    assert found is not None
    assert found.high is None
    straight = fit_exponential(DEPTHS, noisy([0.70 + 0.003 * depth for depth in DEPTHS], 6, 0.003)).asymptote_interval
    assert straight is not None
    assert straight.high is None


def test_a_flat_curve_has_a_knee_anywhere() -> None:
    found = fit_hinge(DEPTHS, noisy([0.8] * 7, 6, 0.003)).knee_interval
    assert found is not None
    assert found.low is None


def test_the_interval_of_the_asymptote_holds_it() -> None:
    curve = [0.80 - 0.1 * math.exp(-(depth - 4) / 6) for depth in DEPTHS]
    found = fit_exponential(DEPTHS, noisy(curve, 6, 0.002)).asymptote_interval
    assert found is not None
    assert found.high is not None
    assert 0.79 < (found.low or 0.0) < 0.80 < found.high < 0.81


def test_the_choice_of_images_widens_what_it_can_move() -> None:
    rng = np.random.default_rng(0)
    levels = [0.6 + 0.02 * min(depth, 14) for depth in DEPTHS]
    own = [score_images(np.tile(rng.random(500) < level, (6, 1))) for level in levels]
    found = fit_hinge(DEPTHS, own).knee_interval
    assert found is not None
    blind = fit_hinge(DEPTHS, [cell.without_images() for cell in own]).knee_interval
    assert blind is not None
    assert (found.high or 32.0) - (found.low or 4.0) > (blind.high or 32.0) - (blind.low or 4.0)


@pytest.mark.parametrize(
    ("depths", "accs"),
    [([12, 16], [1, 2]), ([12, 12, 16], [1, 2, 3]), ([12, 16, 24], [1, 2]), ([12, 16, 24], [1, 2, math.nan])],
    ids=["two", "twice", "missing", "nan"],
)
def test_points_that_cannot_be_fitted_are_refused(depths: list[int], accs: list[float]) -> None:
    for fit in (fit_hinge, fit_exponential):
        with pytest.raises(ValueError, match=r"each once|one value a depth|finite"):
            fit(depths, accs)


def test_seeds_without_any_spread_have_an_interval_and_no_crash() -> None:
    on_a_hinge = [score_seeds([mean] * 6) for mean in (0.6, 0.7, 0.8, 0.8)]
    found = fit_hinge([4, 8, 12, 16], on_a_hinge).knee_interval
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(12.0, abs=0.1), pytest.approx(12.0, abs=0.1))
    off_every_hinge = [score_seeds([mean] * 6) for mean in (0.6, 0.9, 0.7)]
    wide = fit_hinge([4, 8, 12], off_every_hinge).knee_interval
    assert wide is not None
    assert 4.0 < (wide.low or 0.0) <= (wide.high or 0.0) == pytest.approx(8.0)


def test_columns_of_a_filtered_frame_are_sequences_too() -> None:
    frame = pd.DataFrame({"depth": [4, 12, 16, 24, 32], "acc": [0.0, 77.6, 78.88, 79.35, 79.27]}).iloc[1:]
    assert fit_hinge(frame["depth"], frame["acc"]) == fit_hinge(list(frame["depth"]), list(frame["acc"]))
    assert fit_exponential(frame["depth"], frame["acc"]).asymptote == pytest.approx(79.32, abs=0.01)
