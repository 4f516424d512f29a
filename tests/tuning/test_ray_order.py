"""ray_order.py: longest first, among trials of equal needs."""

from __future__ import annotations

from types import SimpleNamespace

from orchestrator.grids.sweep_spec import Resources
from orchestrator.tuning.ray_order import InOrder
from orchestrator.tuning.ray_trial import placement_of


def trial(cpus: int, status: str = "PENDING") -> SimpleNamespace:
    return SimpleNamespace(placement_group_factory=placement_of(Resources(cpus=cpus)), status=status, PENDING="PENDING")


def test_the_first_waiting_trial_comes_next() -> None:
    trials = [trial(1, "RUNNING"), trial(2), trial(1)]
    assert InOrder().choose_trial_to_run(SimpleNamespace(get_trials=lambda: trials)) is trials[1]


def test_a_place_that_became_free_goes_to_the_first_trial_that_asks_for_just_that() -> None:
    trials = [trial(1, "TERMINATED"), trial(2), trial(1), trial(1)]
    controller = SimpleNamespace(get_trials=lambda: trials)
    order = InOrder()
    order.on_trial_complete(controller, trials[0], {})
    assert order.choose_trial_to_run(controller) is trials[2]
    assert order.choose_trial_to_run(controller) is trials[1]


def test_nothing_waits_at_the_end() -> None:
    order = InOrder()
    order.on_trial_complete(None, trial(1), {})
    assert order.choose_trial_to_run(SimpleNamespace(get_trials=lambda: [trial(1, "TERMINATED")])) is None
