"""Corrections and exact tests against counts by hand, published values and laws."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.views.multiplicity import holm, probability_of_improvement, sign_flip, smallest_detectable

P_VALUES = st.lists(st.one_of(st.none(), st.floats(0.0, 1.0)), max_size=8)
DELTAS = st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=7)


def test_holm_gives_the_worked_example_of_its_definition() -> None:
    # ascending 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1 and never falling
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


@given(p_values=P_VALUES)
def test_holm_raises_every_p_keeps_their_order_and_lies_below_bonferroni(p_values: list[float | None]) -> None:
    adjusted = holm(p_values)
    known = [(p, q) for p, q in zip(p_values, adjusted, strict=True) if p is not None and q is not None]
    assert [p is None for p in p_values] == [q is None for q in adjusted]
    assert all(p <= q <= min(1.0, len(known) * p) + 1e-12 for p, q in known)
    assert [q for _, q in sorted(known)] == sorted(q for _, q in known)


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm([0.5, 1.5])


@given(deltas=DELTAS)
def test_the_sign_flip_p_is_the_share_of_patterns_counted_out(deltas: list[float]) -> None:
    seen = abs(math.fsum(deltas))
    sums = [
        abs(math.fsum(s * d for s, d in zip(signs, deltas, strict=True)))
        for signs in product((1, -1), repeat=len(deltas))
    ]
    near = [abs(s - seen) < 1e-9 for s in sums]
    exact = [s >= seen for s in sums]
    lowest = np.mean([e and not n for e, n in zip(exact, near, strict=True)])
    assert lowest < sign_flip(deltas).p <= np.mean([e or n for e, n in zip(exact, near, strict=True)])


@pytest.mark.parametrize(("n", "p"), [(3, 0.25), (5, 0.0625), (6, 0.03125), (8, 0.0078125)])
def test_deltas_of_one_sign_reach_the_smallest_p(n: int, p: float) -> None:
    found = sign_flip(np.linspace(0.01, 0.02, n).tolist())
    assert (found.p, found.smallest_p, found.num_deltas) == (p, p, n)


def test_many_deltas_are_flipped_at_random_and_always_alike() -> None:
    deltas = np.random.default_rng(1).normal(0.3, 1.0, 20).tolist()
    assert sign_flip(deltas) == sign_flip(deltas)
    normal = math.erfc(abs(sum(deltas)) / math.sqrt(2 * sum(d * d for d in deltas)))
    assert sign_flip(deltas).p == pytest.approx(normal, abs=0.02)


def test_a_sign_flip_needs_a_delta() -> None:
    with pytest.raises(ValueError, match="at least one"):
        sign_flip([])


@settings(max_examples=30)
@given(a=st.lists(st.sampled_from([0.1, 0.2, 0.3]), min_size=1, max_size=6), b=DELTAS)
def test_the_probabilities_of_the_two_sides_add_to_one(a: list[float], b: list[float]) -> None:
    there, back = probability_of_improvement(a, b), probability_of_improvement(b, a)
    assert there.probability + back.probability == pytest.approx(1.0)
    assert there.low == pytest.approx(1.0 - back.high, abs=1e-9)
    assert 0.0 <= there.low <= there.probability <= there.high <= 1.0


def test_three_wins_of_three_do_not_prove_that_one_always_wins() -> None:
    found = probability_of_improvement([0.9, 0.91, 0.92], [0.8, 0.81, 0.82])
    assert (found.probability, found.high, found.num_pairs) == (1.0, 1.0, 9)
    assert 0.3 < found.low < 0.9


@pytest.mark.parametrize("a", [[], [0.5]])
def test_an_improvement_needs_both_sides_and_a_level(a: list[float]) -> None:
    with pytest.raises(ValueError, match="both sides"):
        probability_of_improvement(a, [0.5], level=0.95 if not a else 1.0)


@pytest.mark.parametrize(("n", "sds"), [(3, 3.3), (5, 1.7), (8, 1.2)])
def test_the_smallest_difference_is_that_of_the_tables_of_power(n: int, sds: float) -> None:
    assert smallest_detectable(1.0 / math.sqrt(n), n - 1) == pytest.approx(sds, abs=0.05)


def test_the_smallest_difference_with_a_known_spread_is_the_normal_one() -> None:
    assert smallest_detectable(1.0, 1e9) == pytest.approx(1.959964 + 0.841621, abs=1e-3)


def test_the_smallest_difference_is_found_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    n = 4
    samples = rng.normal(smallest_detectable(1.0 / math.sqrt(n), n - 1), 1.0, size=(20_000, n))
    t = samples.mean(axis=1) / samples.std(axis=1, ddof=1) * math.sqrt(n)
    assert np.mean(np.abs(t) > 3.182446) == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("se", "df", "power"), [(-1.0, 2, 0.8), (1.0, 0, 0.8), (1.0, 2, 1.0)])
def test_the_smallest_difference_needs_sound_numbers(se: float, df: float, power: float) -> None:
    with pytest.raises(ValueError, match="power"):
        smallest_detectable(se, df, power=power)
