"""The noise of a curve: what its covariance is made of, against sums written out."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.views.curve_noise import read_points
from orchestrator.views.moderation import shrink
from orchestrator.views.replicates import score_images

DEPTHS = [4, 8, 16]


def covariance(whiten: np.ndarray) -> np.ndarray:
    return np.linalg.inv(whiten.T @ whiten)


def test_bare_points_weigh_the_same() -> None:
    points = read_points([16, 4, 8], [3.0, 1.0, 2.0])
    assert points.depth.tolist() == [4.0, 8.0, 16.0]
    assert points.mean.tolist() == [1.0, 2.0, 3.0]
    assert (points.whiten == np.eye(3)).all()
    assert points.num_seeds == 0


def test_a_depth_without_spread_takes_the_pooled_one_and_each_its_number_of_seeds() -> None:
    accs = [[0.1, 0.3], [0.2, 0.4, 0.6], [0.5, 0.5]]
    points = read_points(DEPTHS, accs)
    pooled = (1 * 0.02 + 2 * 0.04 + 1 * 0.0) / 4
    assert covariance(points.whiten) == pytest.approx(np.diag([pooled / 2, pooled / 3, pooled / 2]))
    assert (points.num_seeds, points.df) == (2, 4.0)


def test_spreads_that_differ_in_earnest_keep_most_of_their_difference() -> None:
    rng = np.random.default_rng(0)
    accs = [(0.5 + sd * rng.normal(size=20)).tolist() for sd in (0.001, 0.001, 0.01)]
    points = read_points(DEPTHS, accs)
    found = np.diag(covariance(points.whiten))
    assert found[2] / found[0] > 30
    assert points.df < 3 * 19


def test_images_are_shared_over_depths() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    cells = [score_images(hard + 0.1 * rng.normal(size=(4, 300)) < level) for level in (0.6, 0.7, 0.8)]
    found = covariance(read_points(DEPTHS, cells).whiten)
    by_image = np.stack([cell.is_correct.mean(axis=0) for cell in cells if cell.is_correct is not None])
    assert found[0, 1] == pytest.approx(np.cov(by_image)[0, 1] / 300)
    assert (np.diag(found) >= np.diag(np.cov(by_image)) / 300 - 1e-12).all()


def test_cells_without_shared_images_count_as_seeds_alone() -> None:
    rng = np.random.default_rng(0)
    cells = [score_images(rng.random((3, 50)) < 0.7, test_set=name) for name in ("a", "b", "a")]
    found = covariance(read_points(DEPTHS, cells).whiten)
    assert found[0, 1] == 0.0
    spreads, _ = shrink(np.array([cell.accs.var(ddof=1) for cell in cells]), np.full(3, 2.0))
    assert np.diag(found) == pytest.approx(spreads / 3)


def test_points_without_spread_are_weighed_all_the_same() -> None:
    points = read_points(DEPTHS, [[0.5] * 6, [0.6] * 6, [0.6] * 6])
    assert np.isfinite(points.whiten).all()
    assert np.ptp(np.diag(covariance(points.whiten))) == pytest.approx(0.0, abs=1e-20)
