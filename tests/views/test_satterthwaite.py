"""Degrees of freedom at their limits, p-values against intervals, and coverage over every share of the seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import chdtri, stdtrit
from scipy.stats import t as student_t

from orchestrator.views.satterthwaite import Spread

SHARES = st.floats(0.0, 1.0)


@given(share=SHARES, n=st.integers(2, 12), alpha=st.floats(1e-6, 0.9))
def test_degrees_of_freedom_lie_between_those_of_the_seeds_and_of_all(share: float, n: int, alpha: float) -> None:
    found = Spread(share, n - 1, 1.0 - share, 1000).df(alpha)
    assert (n - 1) * (1 - 1e-9) <= found <= (n - 1 + 999) * (1 + 1e-9)


def test_without_an_image_part_the_interval_is_students() -> None:
    spread = Spread(4.0, 2.0, 0.0, None)
    assert spread.reach(0.05) == pytest.approx(4.302653 * 2.0, rel=1e-6)
    assert spread.p(6.0) == pytest.approx(2 * student_t.sf(3.0, 2))


def test_without_a_seed_part_the_images_have_all_degrees_of_freedom() -> None:
    assert Spread(0.0, 2.0, 1.0, 360).df(0.05) == pytest.approx(359)


@given(share=SHARES, n=st.integers(2, 9), t=st.floats(0.01, 30.0))
def test_the_p_of_a_distance_is_the_alpha_whose_interval_ends_there(share: float, n: int, t: float) -> None:
    spread = Spread(share, n - 1, 1.0 - share, 1000)
    p = spread.p(t)
    assert spread.reach(p) == pytest.approx(t, rel=1e-4)
    assert spread.p(-t) == p
    assert spread.p(1.1 * t) < p


def test_no_distance_is_no_evidence_and_no_spread_leaves_no_doubt() -> None:
    spread = Spread(0.0, 2.0, 0.0, None)
    assert (spread.p(0.0), spread.p(1e-14), spread.p(0.1)) == (1.0, 1.0, 0.0)
    assert Spread(1e-9, 100.0, 1e-9, 10_000).p(1.0) < 1e-100


@pytest.mark.parametrize("alpha", [0.05, 0.007])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.95])
def test_three_seeds_err_no_more_often_than_they_say(share: float, alpha: float) -> None:
    rng = np.random.default_rng(0)
    size = 200_000
    part = share * rng.chisquare(2, size) / 2
    bound = part * 2 / chdtri(2, 1 - np.sqrt(1.25 * alpha))
    rest = 1.0 - share
    one = Spread(float(part[0]), 2.0, rest, 10**9)
    df = (bound + rest) ** 2 / (bound**2 / 2)
    assert df[0] == pytest.approx(one.df(alpha), rel=1e-4), "the simulation uses the formula under test"
    errs = np.mean(np.abs(rng.normal(size=size)) > stdtrit(df, 1 - alpha / 2) * np.sqrt(part + rest))
    assert errs < 1.1 * alpha
