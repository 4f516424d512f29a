"""The three answers on curves whose truth is known, and what each of them rests on."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.views.replicates import Replicates, score_images, score_seeds
from orchestrator.views.saturation import DEFAULT_MARGIN, Verdict, answer_saturation, find_decline, saturated_from

DEPTHS = (4, 8, 12, 16, 24, 32)


def curve(levels: list[float], num_seeds: int = 6, sd: float = 0.0005, seed: int = 0) -> dict[int, Replicates]:
    rng = np.random.default_rng(seed)
    cells = (score_seeds(level + sd * rng.normal(size=num_seeds)) for level in levels)
    return dict(zip(DEPTHS, cells, strict=True))


PLATEAU = [0.70, 0.74, 0.78, 0.80, 0.80, 0.80]
GROWING = [0.70, 0.74, 0.78, 0.80, 0.82, 0.84]


def test_a_plateau_is_saturated_from_where_it_begins() -> None:
    found = answer_saturation(curve(PLATEAU), num_diverged=2)
    assert (found.verdict, found.saturated_from) == (Verdict.SATURATED, 16)
    assert (found.depths, found.num_seeds, found.num_diverged, found.method) == (DEPTHS, 6, 2, "seeds only")
    assert found.hinge is not None
    assert found.hinge.knee_interval is not None
    assert 12 < (found.hinge.knee_interval.low or 0) < found.hinge.knee < (found.hinge.knee_interval.high or 99) < 17
    assert (found.seeds_needed, found.is_limited_by_images) == (None, False)


def test_a_curve_that_still_gains_has_not_saturated() -> None:
    found = answer_saturation(curve(GROWING))
    assert (found.verdict, found.saturated_from) == (Verdict.NOT_SATURATED, None)
    assert found.last_gain.value == pytest.approx(0.02, abs=0.001)


def test_noise_gives_no_answer_and_says_how_many_seeds_would() -> None:
    found = answer_saturation(curve(PLATEAU, num_seeds=3, sd=0.004))
    assert (found.verdict, found.saturated_from) == (Verdict.CANNOT_TELL, None)
    assert found.seeds_needed is not None
    assert found.seeds_needed > 6
    enough = answer_saturation(curve(PLATEAU, num_seeds=4 * found.seeds_needed, sd=0.004))
    assert enough.verdict is Verdict.SATURATED


def test_three_quiet_seeds_are_too_few_for_the_knee_and_six_would_do() -> None:
    found = answer_saturation(curve(PLATEAU, num_seeds=3, sd=0.0001))
    assert found.verdict is Verdict.SATURATED
    assert found.hinge is not None
    assert found.hinge.knee_interval is None
    assert found.seeds_needed == 6


def test_a_single_seed_tells_nothing() -> None:
    found = answer_saturation(curve(PLATEAU, num_seeds=1))
    assert (found.verdict, found.seeds_needed, found.decline.p) == (Verdict.CANNOT_TELL, 6, None)


def test_too_few_images_are_named_where_no_number_of_seeds_would_do() -> None:
    rng = np.random.default_rng(0)
    answers = {depth: np.tile(rng.random(200) < 0.9, (6, 1)) ^ (rng.random((6, 200)) < 0.01) for depth in (8, 16)}
    found = answer_saturation({depth: score_images(bits) for depth, bits in answers.items()})
    assert (found.verdict, found.is_limited_by_images, found.seeds_needed) == (Verdict.CANNOT_TELL, True, None)
    assert found.hinge is None


def test_a_late_gain_keeps_shallower_depths_from_being_called_saturated() -> None:
    late = [0.80, 0.80, 0.80, 0.80, 0.80, 0.81]
    assert saturated_from(curve(late)) is None
    assert saturated_from(curve([0.79, *late[:4], 0.80])) == 8


def test_a_wider_margin_saturates_no_later() -> None:
    cells = curve([0.70, 0.74, 0.78, 0.790, 0.795, 0.796])
    starts = [saturated_from(cells, margin=margin) or 99 for margin in (DEFAULT_MARGIN, 0.01, 0.03, 0.2)]
    assert starts == sorted(starts, reverse=True)
    assert starts[-1] == 4


def test_a_fall_is_a_decline_and_counts_as_saturated() -> None:
    cells = curve([0.70, 0.74, 0.80, 0.80, 0.79, 0.78])
    found = answer_saturation(cells)
    assert found.decline.is_shown
    assert found.decline.peak_depth in (12, 16)
    assert found.decline.drop is not None
    assert found.decline.drop.value == pytest.approx(0.02, abs=0.002)
    assert found.saturated_from == 12


def test_a_curve_that_rises_has_no_decline() -> None:
    cells = curve(GROWING)
    found = find_decline(list(cells), list(cells.values()))
    assert (found.peak_depth, found.drop, found.is_shown) == (32, None, False)
    assert found.p == 1.0


def test_the_decline_is_corrected_for_the_depths_that_were_looked_at() -> None:
    cells = list(curve([0.80] * 6, sd=0.002, seed=3).values())
    alone = find_decline([24, 32], cells[4:])
    every = find_decline(list(DEPTHS), cells)
    assert every.p is not None
    assert alone.p is not None
    single = [find_decline([4, 32], [cell, cells[-1]]).p for cell in cells[:-1]]
    assert every.p == pytest.approx(min(1.0, 5 * min(p for p in single if p is not None)))


def test_the_order_of_the_cells_changes_nothing() -> None:
    cells = curve(PLATEAU)
    assert answer_saturation(dict(reversed(cells.items()))) == answer_saturation(cells)


@pytest.mark.parametrize("wrong", [{"margin": 0.0}, {"level": 1.0}])
def test_a_margin_and_a_level_are_needed(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="margin"):
        answer_saturation(curve(PLATEAU), **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 depths"):
        answer_saturation({4: score_seeds([0.5])})
