"""Student's interval against a hand-computed case, and the laws of a mean."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.views.stats import mean_interval, student_factor

ACCS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)


def test_the_interval_of_three_values_is_the_one_computed_by_hand() -> None:
    # mean 0.92, sd 0.02, t(0.975, 2) = 4.302653 from Student's table, half width 4.302653 * 0.02 / sqrt(3)
    found = mean_interval([0.90, 0.92, 0.94])
    assert found.mean == pytest.approx(0.92, abs=1e-15)
    assert found.sd == pytest.approx(0.02, abs=1e-15)
    assert found.half_width == pytest.approx(4.302653 * 0.02 / math.sqrt(3), rel=1e-6)
    assert (found.n, found.level) == (3, 0.95)


def test_another_level_takes_another_quantile() -> None:
    # t(0.95, 4) = 2.131847; sd of 1..5 is sqrt(2.5)
    assert mean_interval([1, 2, 3, 4, 5], level=0.90).half_width == pytest.approx(
        2.131847 * math.sqrt(2.5 / 5), rel=1e-6
    )


def test_one_value_has_a_mean_and_no_interval() -> None:
    found = mean_interval([0.8])
    assert (found.mean, found.sd, found.low, found.high, found.half_width, found.n) == (0.8, None, None, None, None, 1)


@given(value=st.floats(0.0, 1.0), n=st.integers(2, 9))
def test_equal_values_have_that_mean_and_zero_width(value: float, n: int) -> None:
    found = mean_interval([value] * n)
    assert (found.mean, found.sd, found.low, found.high) == (value, 0.0, value, value)


@given(values=ACCS, data=st.data())
def test_the_order_of_values_changes_nothing(values: list[float], data: st.DataObject) -> None:
    assert mean_interval(data.draw(st.permutations(values))) == mean_interval(values)


@given(values=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8))
def test_the_mean_lies_inside_its_interval_and_a_wider_level_inside_a_wider_one(values: list[float]) -> None:
    ends = [(found.low, found.high) for found in (mean_interval(values, 0.99), mean_interval(values, 0.8))]
    (wide_low, wide_high), (low, high) = [(low or 0.0, high or 0.0) for low, high in ends]
    assert wide_low <= low <= mean_interval(values).mean <= high <= wide_high


@pytest.mark.parametrize("values", [[], [0.1, math.nan], [math.inf]], ids=["none", "nan", "infinite"])
def test_values_that_have_no_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval(values)


@pytest.mark.parametrize(("n", "level"), [(0, 0.95), (3, 0.0), (3, 1.0)])
def test_a_factor_needs_a_count_and_a_level(n: int, level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        student_factor(n, level)


def test_the_factor_falls_with_every_seed() -> None:
    factors = [student_factor(n) for n in range(2, 12)]
    assert factors == sorted(factors, key=lambda factor: -(factor or 0.0))
    assert student_factor(1) is None
