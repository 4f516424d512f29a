"""The crossed bootstrap: alike every time, right where it can be checked, and too short over few seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.views.bootstrap import crossed_bootstrap
from orchestrator.views.replicates import score_images, score_seeds


def test_equal_input_gives_an_equal_interval() -> None:
    bits = np.random.default_rng(0).random((4, 50)) < 0.7
    first, second = (crossed_bootstrap([score_images(bits)], [1.0], num_draws=300) for _ in range(2))
    assert first == second
    assert first != crossed_bootstrap([score_images(bits)], [1.0], num_draws=300, random_seed=1)


def test_equal_seeds_leave_the_bootstrap_of_the_images() -> None:
    found = crossed_bootstrap([score_images([[1] * 800 + [0] * 200] * 3)], [1.0], num_draws=4000)
    se = math.sqrt(0.8 * 0.2 / 1000)
    assert found.low == pytest.approx(0.8 - 1.96 * se, abs=0.1 * se)
    assert found.high == pytest.approx(0.8 + 1.96 * se, abs=0.1 * se)


def test_equal_cells_differ_by_nothing_when_they_share_seeds_and_images() -> None:
    bits = np.random.default_rng(0).random((4, 50)) < 0.7
    found = crossed_bootstrap([score_images(bits), score_images(bits)], [1.0, -1.0], num_draws=100)
    assert (found.low, found.high) == (0.0, 0.0)
    apart = crossed_bootstrap([score_images(bits), score_images(bits, seeds=range(4, 8))], [1.0, -1.0], num_draws=100)
    assert apart.low < 0.0 < apart.high


def test_over_three_seeds_it_misses_far_more_often_than_it_says() -> None:
    rng = np.random.default_rng(0)
    found = [crossed_bootstrap([score_seeds(rng.normal(size=3))], [1.0], num_draws=200) for _ in range(300)]
    assert 0.6 < np.mean([interval.low <= 0.0 <= interval.high for interval in found]) < 0.87


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"num_draws": 0}])
def test_a_level_and_draws_are_needed(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="num_draws"):
        crossed_bootstrap([score_seeds([0.5, 0.6])], [1.0], **wrong)  # type: ignore[arg-type]
