"""schedule.py: what starts when ends within 5 % of what longest first would reach, and keeps its order where it can."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.grid import expand_grid
from orchestrator.spec import load_spec
from orchestrator.trial import Trial
from orchestrator.tuning.schedule import kept_in_time, longest_first, makespan, predicted_work, times_of
from orchestrator.tuning.timing import ExpectedTime
from tests.test_architecture import ROOT

NAMES = ["depth_sweep", "cifar100_depth", "collapse_controls"]


def trials_by_seed(name: str) -> list[Trial]:
    trials = expand_grid(load_spec(ROOT / "experiments" / f"{name}.yaml")).trials
    return sorted(trials, key=lambda trial: (trial.seed, -predicted_work(trial)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_places", [2, 4, 8, 16, 32])
def test_the_last_trial_ends_within_5_percent_of_longest_first(name: str, num_places: int) -> None:
    trials = trials_by_seed(name)
    kept = kept_in_time(trials, times_of(trials, {}), num_places)
    assert sorted(trial.trial_id for trial in kept) == sorted(trial.trial_id for trial in trials)
    best = makespan(times_of(longest_first(trials), {}), num_places)
    assert makespan(times_of(kept, {}), num_places) <= 1.05 * best


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_places", [1, 2, 4])
def test_the_order_stays_where_there_are_many_more_trials_than_places(name: str, num_places: int) -> None:
    trials = trials_by_seed(name)
    assert kept_in_time(trials, times_of(trials, {}), num_places) == trials


def test_on_more_places_than_that_the_first_seed_still_comes_first() -> None:
    trials = trials_by_seed("depth_sweep")
    kept = kept_in_time(trials, times_of(trials, {}), 8)
    assert kept != trials
    assert kept[:8] == trials[:8]


def test_expected_seconds_count_where_every_trial_has_some() -> None:
    trials = trials_by_seed("depth_sweep")[:4]
    seconds = {trial.trial_id: ExpectedTime(time) for trial, time in zip(trials, (10.0, 10.0, 10.0, 30.0), strict=True)}
    assert times_of(trials, seconds) == [10.0, 10.0, 10.0, 30.0]
    assert times_of(trials, {trials[0].trial_id: ExpectedTime(1.0)}) == [predicted_work(trial) for trial in trials]
    assert kept_in_time(trials, times_of(trials, seconds), 2) == [trials[0], trials[3], trials[1], trials[2]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=7), st.integers(1, 4))
def test_longest_first_is_within_a_third_of_the_best_and_no_order_beats_the_bounds(
    times: list[int], num_places: int
) -> None:
    """4/3 - 1/(3m): R. L. Graham, Bounds on Multiprocessing Timing Anomalies, 1969."""
    best = min(makespan(order, num_places) for order in set(permutations(times)))
    longest = makespan(sorted(times, reverse=True), num_places)
    assert best <= longest <= best * (4 / 3 - 1 / (3 * num_places)) + 1e-9
    assert best >= max(sum(times) / num_places, *times)
