"""search_plan.py, and what plan.py makes of it: a search is priced apart, and ids that are not known are numbered."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator import durable
from orchestrator.results import ResultsDir
from orchestrator.tuning.cell_search import chosen_values, survey_searches, tuned_sweep
from orchestrator.tuning.plan import SweepPlan, build_plan
from orchestrator.tuning.search_phase import index_of, write_snapshot
from tests.tuning.searches import TEXT, TPE, diverge, finish, run_to_end, survey, tuned, write_attempt


def plan(results: ResultsDir, text: str = TEXT) -> SweepPlan:
    spec, grid, _ = tuned(text)
    return build_plan(spec, grid, results)


def keep(results: ResultsDir, text: str = TEXT, **changes) -> None:
    """Leave the sweep's files as a run would have."""
    spec, grid, tune = tuned(text)
    found = survey_searches(grid, tune, results, lambda standing: False)
    grid = grid.with_chosen(chosen_values(found), spec.seeds)
    write_snapshot(results.sweep(spec.name), spec, index_of(spec, grid, found))
    content = dataclasses.asdict(dataclasses.replace(tuned_sweep(spec.name, tune, found), **changes))
    durable.write_sealed_json(results.sweep(spec.name).tuned_file, content)


@pytest.mark.parametrize(("text", "num_known"), [(TEXT, 6), (TPE, 2)])
def test_before_the_search_trials_are_numbered_and_measured_ones_have_no_id(
    results: ResultsDir, text: str, num_known: int
) -> None:
    found = plan(results, text)
    assert (found.num_trials, found.num_to_run, found.num_search_trials, found.num_search_to_run) == (4, 4, 12, 12)
    for cell in found.cells:
        assert (cell.standing, cell.num_trials, cell.num_finished) == ("after search", 2, 0)
        assert cell.search is not None
        assert (cell.search.num_known, cell.search.num_trials, cell.search.chosen) == (num_known, 6, None)
    assert not results.root.exists()


def test_the_search_and_what_is_measured_have_prices_of_their_own(results: ResultsDir) -> None:
    (first, second) = survey(results)
    finish(results, first.due[0], num_epochs=8, train_time_s=16.0)
    found = plan(results, TEXT.replace("num_trials: 6", "num_trials: 6\n  epochs: 4"))
    cell = found.cells[0]
    assert cell.search is not None
    assert cell.trial_time_s == pytest.approx(16.0)
    assert cell.search.trial_time_s == pytest.approx(8.0)
    assert cell.remaining_time_s == pytest.approx(2 * 16.0)
    assert cell.search.remaining_time_s == pytest.approx(6 * 8.0)
    deeper = found.cells[1]
    assert deeper.search is not None
    whole = [c.remaining_time_s + c.search.remaining_time_s for c in (cell, deeper)]
    assert found.remaining_time_s == pytest.approx(sum(whole))
    assert second.due


def test_after_the_search_what_was_chosen_is_told(results: ResultsDir) -> None:
    searches = run_to_end(results)
    for cell, search in zip(plan(results).cells, searches, strict=True):
        assert cell.search is not None
        assert search.tuned.choice is not None
        assert (cell.standing, cell.search.chosen) == ("new", search.tuned.choice.values)
        assert (cell.search.num_to_run, cell.search.remaining_time_s) == (0, 0.0)


def test_a_larger_budget_says_that_the_choice_may_change(results: ResultsDir) -> None:
    run_to_end(results)
    keep(results)
    assert plan(results).cells[0].search.notes == ()
    more = plan(results, TEXT.replace("num_trials: 6", "num_trials: 9")).cells[0].search
    assert more is not None
    assert more.num_to_run == 3
    assert more.notes == ("more proposals may change what is chosen; then its 2 measured trials are trained anew",)


def test_a_choice_that_changed_names_the_field(results: ResultsDir) -> None:
    first = run_to_end(results)[0].tuned.choice
    keep(results)
    spec, grid, tune = tuned()
    found = survey_searches(grid, tune, results, lambda standing: False)
    for trial in grid.with_chosen(chosen_values(found), spec.seeds).trials:
        durable.write_json(results.trial(trial.trial_id).trial_file, trial.canonical())
    text = TEXT.replace("num_trials: 6", "num_trials: 30")
    last = run_to_end(results, text)[0].tuned.choice
    assert first is not None
    assert last is not None
    assert plan(results, text).cells[0].reasons == (f"changed: train.lr {first.values['lr']} -> {last.values['lr']}",)


def test_failed_and_diverged_trials_are_counted_and_a_cell_without_a_choice_is_named(results: ResultsDir) -> None:
    first, *others = survey(results)[0].due
    write_attempt(results, first, outcome="FAIL", error="no memory")
    for trial in others:
        diverge(results, trial)
    found = plan(results)
    search = found.cells[0].search
    assert search is not None
    assert (search.num_failed, search.num_finished, search.num_to_run, search.chosen) == (1, 5, 0, None)
    assert search.notes == ("failed: no memory",)
    assert "depth 1: none of 6 proposals completed (5 diverged and 1 failed)" in found.warnings[0]


def test_other_proposals_by_another_optuna_are_told(results: ResultsDir) -> None:
    run_to_end(results)
    keep(results)
    assert plan(results).warnings == ()
    cells = results.sweep("tuned").read_tuned().cells
    others = [dataclasses.replace(p, values={"lr": 0.5}) for p in cells[0].proposals]
    keep(results, optuna="4.9.0", cells=(dataclasses.replace(cells[0], proposals=tuple(others)), cells[1]))
    (warning,) = plan(results).warnings
    assert warning.startswith("1 cells get other proposals than before, because Optuna is ")
    assert "and was 4.9.0" in warning
