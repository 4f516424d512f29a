"""Two-way intervals against an analysis of variance by hand, their limits, and the laws of a contrast."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.views.replicates import Replicates, score_images, score_seeds
from orchestrator.views.stats import mean_interval
from orchestrator.views.variance import (
    contrast,
    delta,
    difference_in_differences,
    mean_accuracy,
    pooled_delta,
    variance_components,
    weigh_cells,
)

SEEDS = st.integers(0, 2**31)


def random_bits(seed: int, num_seeds: int = 4, num_images: int = 30) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random((num_seeds, num_images)) < 0.8


def cell(seed: int, num_seeds: int = 4, first_seed: int = 0) -> Replicates:
    return score_images(random_bits(seed, num_seeds), seeds=range(first_seed, first_seed + num_seeds))


@given(seed=SEEDS)
def test_the_components_are_those_of_the_sums_over_cells_written_out(seed: int) -> None:
    y = np.random.default_rng(seed).normal(size=(3, 5))
    n, m = y.shape
    grand = sum(y[s, i] for s in range(n) for i in range(m)) / (n * m)
    rows = [sum(y[s, i] for i in range(m)) / m for s in range(n)]
    columns = [sum(y[s, i] for s in range(n)) / n for i in range(m)]
    ms_seed = m * sum((row - grand) ** 2 for row in rows) / (n - 1)
    ms_image = n * sum((column - grand) ** 2 for column in columns) / (m - 1)
    rest = sum((y[s, i] - rows[s] - columns[i] + grand) ** 2 for s in range(n) for i in range(m))
    ms_noise = rest / ((n - 1) * (m - 1))
    found = variance_components(y)
    assert found.noise == pytest.approx(ms_noise)
    assert found.seed == pytest.approx((ms_seed - ms_noise) / m)
    assert found.image == pytest.approx((ms_image - ms_noise) / n)


@given(seed=SEEDS)
def test_the_squared_error_of_a_mean_is_made_of_the_mean_squares(seed: int) -> None:
    bits = random_bits(seed)
    n, m = bits.shape
    parts, found = variance_components(bits), mean_accuracy(score_images(bits))
    assert found.seed_part == pytest.approx((m * parts.seed + parts.noise) / (n * m))
    assert found.image_part == pytest.approx(max(parts.image, 0.0) / m)
    assert found.noise_part == pytest.approx(parts.noise / (n * m))
    assert (found.se or 0.0) ** 2 == pytest.approx((found.seed_part or 0.0) + found.image_part)


def test_without_images_a_mean_is_students_and_says_so() -> None:
    accs = [0.90, 0.92, 0.94]
    found, known = mean_accuracy(score_seeds(accs)), mean_interval(accs)
    assert (found.low, found.high) == (pytest.approx(known.low), pytest.approx(known.high))
    assert (found.df, found.method, found.num_images, found.image_part) == (2.0, "seeds only", None, 0.0)


def test_without_images_and_with_disjoint_seeds_a_delta_is_welchs() -> None:
    from scipy.stats import ttest_ind

    a, b = [0.90, 0.92, 0.97], [0.88, 0.89, 0.91, 0.90]
    found = delta(score_seeds(a, [0, 1, 2]), score_seeds(b, [3, 4, 5, 6]))
    known = ttest_ind(a, b, equal_var=False)
    assert found.p == pytest.approx(known.pvalue)
    assert found.df == pytest.approx(known.df)
    assert not found.is_paired


def test_without_images_and_with_shared_seeds_a_delta_is_the_paired_t_test() -> None:
    from scipy.stats import ttest_rel

    a, b = [0.90, 0.92, 0.97], [0.88, 0.89, 0.91]
    found = delta(score_seeds(a), score_seeds(b))
    assert found.p == pytest.approx(ttest_rel(a, b).pvalue)
    assert found.is_paired


def test_seeds_that_are_equal_leave_the_interval_of_the_images() -> None:
    bits = np.array([[1] * 80 + [0] * 20] * 3)
    found = mean_accuracy(score_images(bits))
    assert found.seed_part == 0.0
    assert found.se == pytest.approx(math.sqrt(0.8 * 0.2 / 99))
    assert found.df == pytest.approx(99)


def test_equal_deltas_of_zero_show_nothing_and_others_leave_no_doubt() -> None:
    a = [0.1, 0.2, 0.3]
    same, more = delta(score_seeds(a), score_seeds(a)), delta(score_seeds([x + 0.1 for x in a]), score_seeds(a))
    assert (same.p, same.se, more.p, more.se) == (1.0, 0.0, 0.0, 0.0)


def test_an_image_component_below_zero_is_cut_off_and_a_seed_component_is_not() -> None:
    # every image is right for exactly one of two seeds: images explain less than nothing, and so do seeds
    bits = np.array([[1, 0] * 50, [0, 1] * 50])
    parts, found = variance_components(bits), mean_accuracy(score_images(bits))
    assert parts.image < 0.0
    assert parts.seed < 0.0
    assert (found.image_part, found.seed_part) == (0.0, 0.0)


def test_one_seed_has_a_value_and_no_interval() -> None:
    found = mean_accuracy(score_images([[1, 1, 0, 1]]))
    assert (found.value, found.low, found.high, found.se, found.p, found.half_width) == (0.75, *[None] * 5)
    assert found.bound(0.95, is_upper=True) is None


@given(first=SEEDS, second=SEEDS)
def test_a_delta_is_the_contrast_of_the_differences_by_image(first: int, second: int) -> None:
    a, b = random_bits(first), random_bits(second)
    (table,), num_images = weigh_cells([score_images(a), score_images(b)], [1.0, -1.0])
    assert (table == a.astype(float) - b).all()
    assert num_images == 30
    assert delta(score_images(a), score_images(b)).value == pytest.approx(a.mean() - b.mean())


@given(first=SEEDS, second=SEEDS)
def test_turning_a_delta_round_turns_its_interval_round(first: int, second: int) -> None:
    for later in (0, 4):  # the same seeds, then disjoint ones
        a, b = cell(first), cell(second, first_seed=later)
        there, back = delta(a, b), delta(b, a)
        assert there.value == pytest.approx(-back.value)
        assert there.low == pytest.approx(-(back.high or 0.0))
        assert there.p == pytest.approx(back.p)


def test_the_unit_of_the_accuracies_is_that_of_the_answer() -> None:
    a, b = [0.90, 0.92, 0.97], [0.88, 0.89, 0.91]
    small, large = delta(score_seeds(a), score_seeds(b)), delta(*(score_seeds([100 * x for x in y]) for y in (a, b)))
    assert large.half_width == pytest.approx(100 * (small.half_width or 0.0))
    assert large.p == pytest.approx(small.p)


def test_the_difference_in_differences_is_the_gain_of_a_over_the_gain_of_b() -> None:
    cells = [cell(seed) for seed in range(4)]
    a_shallow, a_deep, b_shallow, b_deep = cells
    found = difference_in_differences(*cells)
    assert found.value == pytest.approx((a_deep.mean - a_shallow.mean) - (b_deep.mean - b_shallow.mean))
    assert found == contrast([a_deep, a_shallow, b_deep, b_shallow], [1, -1, -1, 1])


def test_the_pooled_delta_is_the_mean_of_the_deltas() -> None:
    pairs = [(cell(2 * k), cell(2 * k + 1)) for k in range(3)]
    assert pooled_delta(pairs).value == pytest.approx(np.mean([delta(a, b).value for a, b in pairs]))
    with pytest.raises(ValueError, match="a contrast needs cells"):
        pooled_delta([])


def test_cells_are_paired_on_the_seeds_that_all_share() -> None:
    a, b = cell(1, num_seeds=5), cell(2, num_seeds=5, first_seed=2)
    found = delta(a, b)
    assert (found.num_seeds, found.is_paired) == (3, True)
    assert found == delta(a.only([2, 3, 4]), b.only([2, 3, 4]))


def test_disjoint_seeds_stay_paired_on_images() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(400) < 0.3
    a, b = (score_images(~hard ^ (rng.random((4, 400)) < 0.02), seeds=range(k, k + 4)) for k in (0, 4))
    found = delta(a, b)
    assert not found.is_paired
    assert found.method == "seed x image"
    apart = (mean_accuracy(a).se or 0.0) ** 2 + (mean_accuracy(b).se or 0.0) ** 2
    assert (found.se or 1.0) ** 2 < apart / 4, "images that are hard for both say nothing about the difference"


@pytest.mark.parametrize("other", [score_images(random_bits(1, 4, 29)), score_images(random_bits(1), test_set="b")])
def test_other_test_sets_are_not_paired_on_images(other: Replicates) -> None:
    found = delta(score_images(random_bits(0), test_set="a"), other)
    assert found.method == "seeds only"


def test_bounds_and_one_sided_p_agree_with_each_other() -> None:
    found = delta(cell(1), cell(2))
    upper = found.bound(0.95, is_upper=True)
    assert upper is not None
    assert found.one_sided_p(of_more_than=upper) == pytest.approx(0.95)
    assert 2 * min(found.one_sided_p() or 0.0, 1 - (found.one_sided_p() or 0.0)) == pytest.approx(found.p)


@pytest.mark.parametrize(("weights", "level"), [([1.0], 0.95), ([1.0, -1.0], 1.0)])
def test_a_contrast_needs_its_weights_and_a_level(weights: list[float], level: float) -> None:
    with pytest.raises(ValueError, match=r"weight|level"):
        contrast([cell(1), cell(2)], weights, level)


def test_components_need_two_of_each() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        variance_components([[1, 0, 1]])
