"""cell_search.py: the search of a cell, rebuilt from the files of its trials."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.grids.tune_spec import SEARCH_SEEDS
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.tuned import TunedSweep
from orchestrator.tuning.cell_search import chosen_values, survey_searches, tuned_sweep
from tests.tuning.searches import (
    BEST_LR,
    PRUNING,
    TEXT,
    TPE,
    diverge,
    finish,
    learning_curve,
    run_to_end,
    survey,
    tuned,
    write_rows,
)  # fmt: skip


def ids(results: ResultsDir, text: str) -> list[tuple[str, ...]]:
    return [tuple(search.standings) for search in survey(results, text)]


def test_an_empty_root_makes_every_quasi_random_trial_due_and_tpes_first_batch(results: ResultsDir) -> None:
    assert [len(search.due) for search in survey(results)] == [6, 6]
    (first, _) = survey(results, TPE)
    assert (len(first.due), first.num_unknown, len(first.members())) == (2, 4, 2)
    assert not results.root.exists()
    assert {trial.seed for trial in first.due} == {SEARCH_SEEDS[0]}


@pytest.mark.parametrize("text", [TEXT, TPE, PRUNING], ids=["quasi_random", "tpe", "prune"])
@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_in_whatever_order_trials_end_the_search_is_the_same(
    text: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = run_to_end(whole := ResultsDir(tmp_path_factory.mktemp("whole")), text)
    results = ResultsDir(tmp_path_factory.mktemp("cut"))
    while due := [(trial, search.rule) for search in survey(results, text) for trial in search.due]:
        for trial, rule in data.draw(st.lists(st.sampled_from(due), min_size=1, unique_by=lambda one: one[0].trial_id)):
            finish(results, trial, rule)
    assert [search.tuned for search in survey(results, text)] == [search.tuned for search in expected]
    assert ids(results, text) == ids(whole, text)


def test_the_best_on_validation_is_chosen_for_each_cell(results: ResultsDir) -> None:
    for search in run_to_end(results):
        choice = search.tuned.choice
        assert choice is not None
        best = min(search.tuned.proposals, key=lambda p: abs(math.log(p.values["lr"] / BEST_LR)))
        assert (choice.proposal, choice.values, choice.val_acc) == (best.number, best.values, best.val_acc)


def test_nothing_is_chosen_before_every_proposal_has_ended(results: ResultsDir) -> None:
    searches = survey(results)
    for trial in searches[0].due[1:]:
        finish(results, trial)
    assert survey(results)[0].tuned.choice is None
    finish(results, searches[0].due[0])
    first, second = survey(results)
    assert first.tuned.choice is not None
    assert second.tuned.choice is None
    assert list(chosen_values({"a": first, "b": second})) == ["a"]


def test_more_proposals_keep_the_earlier_ones_and_grown_axes_the_cells(results: ResultsDir) -> None:
    run_to_end(results)
    more = survey(results, TEXT.replace("num_trials: 6", "num_trials: 9"))
    assert [len(search.due) for search in more] == [3, 3]
    deeper = survey(results, TEXT.replace("[1, 2]", "[1, 2, 3]"))
    assert [len(search.due) for search in deeper] == [0, 0, 6]


def test_test_accuracy_chooses_nothing(results: ResultsDir, tmp_path) -> None:
    other = ResultsDir(tmp_path / "other")
    for number, trial in enumerate(t for search in survey(results) for t in search.due):
        finish(results, trial, test_acc=0.5, test_loss=1.0)
        finish(other, trial, test_acc=number / 20, test_loss=number)
    assert [s.tuned for s in survey(results)] == [s.tuned for s in survey(other)]


def test_a_proposal_is_the_mean_over_its_search_seeds(results: ResultsDir) -> None:
    text = TEXT.replace("num_trials: 6", "num_trials: 2\n  seeds: 3")
    search = run_to_end(results, text)[0]
    assert len(search.standings) == 6
    for proposal in search.tuned.proposals:
        accs = [search.standings[trial_id].record.val_acc for trial_id in proposal.trial_ids]
        assert proposal.val_acc == pytest.approx(sum(accs) / 3)
        assert {search.standings[i].trial.seed for i in proposal.trial_ids} == set(SEARCH_SEEDS[:3])


def test_equal_proposals_share_their_trial(results: ResultsDir) -> None:
    text = TEXT.replace("{log_uniform: [1.0e-4, 1.0e-1]}", "[1.0e-3, 1.0e-2]")
    search = run_to_end(results, text)[0]
    assert len(search.tuned.proposals) == 6
    assert len(search.standings) == len(search.members()) == 2
    assert {member.proposal for member in search.members()} == {
        min(p.number for p in search.tuned.proposals if p.values["lr"] == lr) for lr in (1e-3, 1e-2)
    }


def test_a_diverged_proposal_never_wins_and_is_an_outcome(results: ResultsDir) -> None:
    searches = survey(results)
    best = max(searches[0].due, key=lambda trial: learning_curve(trial)[-1].val_acc or 0)
    for trial in searches[0].due:
        diverge(results, trial) if trial == best else finish(results, trial)
    tuned_cell = survey(results)[0].tuned
    assert tuned_cell.num(State.DIVERGED) == 1
    assert tuned_cell.choice is not None
    assert tuned_cell.choice.values["lr"] != best.train.lr


def test_where_every_proposal_diverged_nothing_is_chosen(results: ResultsDir) -> None:
    for trial in survey(results)[0].due:
        diverge(results, trial)
    search = survey(results)[0]
    assert (search.due, search.tuned.choice, search.tuned.is_over) == ((), None, True)


def test_a_pruned_trial_is_held_against_earlier_batches_of_its_own_cell(results: ResultsDir) -> None:
    searches = run_to_end(results, PRUNING)
    for search in searches:
        assert search.num(State.PRUNED) > 0
        assert [p.state for p in search.tuned.proposals[:4]] == [State.COMPLETE] * 4
        earlier = [learning_curve(search.standings[p.trial_ids[0]].trial) for p in search.tuned.proposals[:4]]
        for proposal in search.tuned.proposals[4:8]:
            accs = sorted(curve[1].val_acc for curve in earlier)  # the second of eight epochs is judged first
            median = (accs[1] + accs[2]) / 2
            own = learning_curve(search.standings[proposal.trial_ids[0]].trial)[1].val_acc
            assert (proposal.state is State.PRUNED) == (own < median)
            assert proposal.pruned_epoch == (2 if own < median else None)


def test_whether_a_trial_is_pruned_follows_from_its_epochs_and_not_from_who_trained_it(results: ResultsDir) -> None:
    searches = run_to_end(results, PRUNING)
    pruned = next(p for p in searches[0].tuned.proposals if p.state is State.PRUNED)
    trial = searches[0].standings[pruned.trial_ids[0]].trial
    finish(results, trial)  # another sweep, which does not prune, trained it to its end
    assert survey(results, PRUNING)[0].tuned == searches[0].tuned
    without = PRUNING.replace("  prune: true", "").replace("  batch_size: 4\n", "")
    assert trial.trial_id not in {due.trial_id for due in survey(results, without)[0].due}


def test_a_trial_that_another_sweep_gave_up_is_due_here(results: ResultsDir) -> None:
    run_to_end(results, PRUNING)
    without = PRUNING.replace("  prune: true", "").replace("  batch_size: 4\n", "")
    searches = survey(results, without)
    pruned = {t for one in survey(results, PRUNING) for t, state in one.states.items() if state is State.PRUNED}
    assert {trial.trial_id for search in searches for trial in search.due} == pruned


def test_rows_of_an_interrupted_trial_decide_nothing_yet(results: ResultsDir) -> None:
    for trial in survey(results, PRUNING)[0].due:
        finish(results, trial)
    search = survey(results, PRUNING)[0]
    write_rows(results, search.due[0], [replace(row, val_acc=0.0) for row in learning_curve(search.due[0])[:4]])
    assert survey(results, PRUNING)[0].due == search.due


def test_what_was_tuned_goes_through_json_and_back(results: ResultsDir) -> None:
    run_to_end(results, PRUNING)
    spec, grid, tune = tuned(PRUNING)
    found = tuned_sweep(spec.name, tune, survey_searches(grid, tune, results, lambda standing: False))
    assert TunedSweep.from_json(json.loads(json.dumps(asdict(found)))) == found
    assert (found.num_trials, found.batch_size, found.prune) == (12, 4, True)


def test_without_tune_there_is_no_search(results: ResultsDir) -> None:
    _, grid, _ = tuned()
    assert survey_searches(grid, None, results, lambda standing: False) == {}
