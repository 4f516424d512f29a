"""ray_order.py: longest first, among trials of equal needs."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from orchestrator.grids.sweep_spec import Resources
from orchestrator.tuning.ray_order import InOrder
from orchestrator.tuning.ray_trial import placement_of


class FakeTrial(SimpleNamespace):
    """What Tune keeps of a trial; Tune finds its worker by the trial itself."""

    PENDING = "PENDING"
    __hash__ = object.__hash__


def trial(cpus: int, status: str = "PENDING") -> FakeTrial:
    return FakeTrial(placement_group_factory=placement_of(Resources(cpus=cpus)), status=status)


def controller_of(trials: Sequence[FakeTrial], starting: Sequence[FakeTrial] = ()) -> Any:
    """All have asked for a worker; Ray starts those of `starting`."""
    actors = {id(trial): f"actor {idx}" for idx, trial in enumerate(trials)}
    begun = {actors[id(trial)] for trial in starting}
    return SimpleNamespace(
        get_trials=lambda: trials,
        _trial_to_actor={trial: actors[id(trial)] for trial in trials},
        _actor_manager=SimpleNamespace(is_actor_started=lambda actor: actor in begun),
    )


def test_the_first_waiting_trial_comes_next() -> None:
    trials = [trial(1, "RUNNING"), trial(2), trial(1)]
    assert InOrder().choose_trial_to_run(controller_of(trials)) is trials[1]


def test_a_place_that_became_free_goes_to_the_first_trial_that_asks_for_just_that() -> None:
    trials = [trial(1, "TERMINATED"), trial(2), trial(1), trial(1)]
    controller = controller_of(trials)
    order = InOrder()
    order.on_trial_complete(controller, trials[0], {})
    assert order.choose_trial_to_run(controller) is trials[2]
    assert order.choose_trial_to_run(controller) is trials[1]


def test_a_trial_keeps_the_worker_that_is_starting_for_it_as_long_as_others_wait() -> None:
    trials = [trial(1, "TERMINATED"), trial(1), trial(1), trial(1)]
    order = InOrder()
    for starting, expected in (([1], 2), ([1, 2], 3), ([1, 2, 3], 1)):
        controller = controller_of(trials, [trials[idx] for idx in starting])
        order.on_trial_complete(controller, trials[0], {})
        assert order.choose_trial_to_run(controller) is trials[expected]


def test_nothing_waits_at_the_end() -> None:
    order = InOrder()
    order.on_trial_complete(None, trial(1), {})
    assert order.choose_trial_to_run(controller_of([trial(1, "TERMINATED")])) is None
