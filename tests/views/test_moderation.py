"""Spreads of a family: drawn together where they agree, left alone where they differ, never claimed from few seeds."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.views.moderation import MIN_SEEDS, moderate
from orchestrator.views.stats import Estimate, mean_accuracy, score_images, score_seeds


def family(sds: list[float], num_seeds: int = 8, seed: int = 0) -> list[Estimate]:
    rng = np.random.default_rng(seed)
    return [mean_accuracy(score_seeds(0.9 + sd * rng.normal(size=num_seeds))) for sd in sds]


def ratios(estimates: list[Estimate]) -> float:
    """Largest spread over the smallest."""
    parts = [found.seed_part or 0.0 for found in estimates]
    return max(parts) / min(parts)


def test_equal_spreads_are_drawn_together_and_values_stay() -> None:
    before = family([0.01] * 10)
    after = moderate(before)
    assert [found.value for found in after] == [found.value for found in before]
    assert ratios(after) < ratios(before) / 2
    assert all((new.seed_df or 0) > (old.seed_df or 0) for old, new in zip(before, after, strict=True))
    assert max(found.seed_df or 0 for found in after) <= 10 * 7 + 1e-9


def test_spreads_that_differ_in_earnest_stay_apart() -> None:
    before = family([0.0005, 0.02] * 5, num_seeds=20)
    assert ratios(moderate(before)) > ratios(before) / 3


def test_the_common_value_of_a_family_is_that_of_its_spreads() -> None:
    after = moderate(family([0.01] * 40, num_seeds=10))
    assert np.mean([found.seed_part for found in after]) == pytest.approx(0.01**2 / 10, rel=0.1)


def test_few_seeds_and_single_cells_are_left_as_they_are() -> None:
    for before in (family([0.01] * 5, num_seeds=MIN_SEEDS - 1), family([0.01]), []):
        assert moderate(before) == before


def test_a_cell_without_spread_or_with_few_seeds_does_not_disturb_the_others() -> None:
    others = family([0.01] * 4)
    strange = [mean_accuracy(score_seeds([0.9] * 8)), *family([0.5], num_seeds=3)]
    assert moderate([*strange, *others])[2:] == moderate(others)
    assert moderate([*strange, *others])[:2] == strange


def test_answers_by_image_measure_spreads_in_units_of_their_noise() -> None:
    rng = np.random.default_rng(0)
    levels = [0.6, 0.95] * 6
    cells = [score_images(rng.random((8, 500)) < level) for level in levels]
    before = [mean_accuracy(cell) for cell in cells]
    after = moderate(before)
    hard, easy = ([found.seed_part or 0.0 for found in after[start::2]] for start in (0, 1))
    assert np.mean(hard) / np.mean(easy) == pytest.approx(0.6 * 0.4 / (0.95 * 0.05), rel=0.2)
    assert ratios(after[::2]) < ratios(before[::2]) / 2


def test_false_alarms_stay_rare_where_spreads_differ_twofold() -> None:
    alarms = 0
    for number in range(300):
        found = moderate(family([0.01, 0.02] * 4, num_seeds=8, seed=number))
        alarms += any(abs(cell.value - 0.9) > (cell.half_width or 0.0) for cell in found[:1])
    assert alarms / 300 < 0.09
