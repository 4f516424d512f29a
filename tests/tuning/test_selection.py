"""selection.py: only the validation split chooses, and only what completed can win."""

from __future__ import annotations

from itertools import permutations

import pytest

from orchestrator.grids.tune_spec import Range
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuned import Proposal
from orchestrator.tuning.selection import Tried, choose, conclude, judge
from orchestrator.tuning.survey import Standing, standing_of
from tests.tuning.searches import diverge, finish, learning_curve

LR = Range(name="lr", kind="log_uniform", values=(1e-4, 1e-2))


def proposal(
    number: int, val_acc: float | None, val_loss: float | None = 1.0, state: State = State.COMPLETE
) -> Proposal:
    values = {"lr": 1e-4 * 10**number}
    return Proposal(number=number, values=values, trial_ids=("t",), state=state, val_acc=val_acc, val_loss=val_loss)


def never(standing: Standing) -> bool:
    return False


def test_the_highest_accuracy_wins_then_the_lowest_loss_then_the_first() -> None:
    assert choose([proposal(0, 0.5), proposal(1, 0.6), proposal(2, 0.4)], [LR]).proposal == 1
    assert choose([proposal(0, 0.5, 0.9), proposal(1, 0.5, 0.8), proposal(2, 0.5, 0.8)], [LR]).proposal == 1


def test_the_order_in_which_proposals_are_given_chooses_nothing() -> None:
    all_equal = [proposal(0, 0.5, 0.8), proposal(1, 0.5, 0.8), proposal(2, 0.3, 0.1)]
    assert {choose(order, [LR]).proposal for order in permutations(all_equal)} == {0}


@pytest.mark.parametrize("state", [State.DIVERGED, State.FAIL, State.PRUNED, State.WAITING])
def test_what_did_not_complete_never_wins(state: State) -> None:
    assert choose([proposal(0, 0.9, 0.1, state), proposal(1, 0.2)], [LR]).proposal == 1
    assert choose([proposal(0, 0.9, 0.1, state)], [LR]) is None


def test_a_choice_says_where_it_lies_in_its_range() -> None:
    choice = choose([proposal(0, 0.5)], [LR])
    assert choice is not None
    assert (choice.positions, choice.edges, choice.at_edge) == ({"lr": 0.0}, {"lr": "low"}, ("lr",))
    middle = choose([proposal(1, 0.5)], [LR])
    assert middle is not None
    assert (middle.positions, middle.at_edge) == ({"lr": pytest.approx(0.5)}, ())


def test_a_proposal_is_as_bad_as_the_worst_of_its_trials(tiny_trial: Trial) -> None:
    def concluded(*states: State) -> State:
        tried = [Tried(Standing(tiny_trial, state, None), state) for state in states]
        tried = [one if one.state is not State.PRUNED else pruned for one in tried]
        return conclude(0, {}, tried).state

    row = learning_curve(tiny_trial)[0]
    pruned = Tried(Standing(tiny_trial, State.PRUNED, None), State.PRUNED, (row,), row)
    assert concluded(State.COMPLETE, State.DIVERGED) is State.DIVERGED
    assert concluded(State.DIVERGED, State.PRUNED) is State.PRUNED
    assert concluded(State.PRUNED, State.FAIL) is State.FAIL
    assert concluded(State.FAIL, State.WAITING) is State.WAITING


def test_a_trial_is_judged_by_its_files_and_the_rule(results: ResultsDir, tiny_trial: Trial) -> None:
    rows = tuple(learning_curve(tiny_trial))

    def state(rule: dict[int, float], is_due=never) -> State:
        return judge(standing_of(tiny_trial, results), rows, rule, is_due).state

    assert state({}) is State.WAITING
    finish(results, tiny_trial)
    assert (state({}), state({1: 1.0}), state({1: 0.0})) == (State.COMPLETE, State.PRUNED, State.COMPLETE)
    assert state({}, lambda standing: True) is State.WAITING
    finish(results, tiny_trial, {1: 1.0})
    assert (state({1: 1.0}), state({})) == (State.PRUNED, State.WAITING)
    diverge(results, tiny_trial)
    assert state({}) is State.DIVERGED
