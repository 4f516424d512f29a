from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.record import EpochMetrics, State
from orchestrator.results import ResultsDir
from orchestrator.tuning.cell_search import survey_searches
from orchestrator.tuning.events import EpochFinished, TrialEnded, TrialStarted
from orchestrator.tuning.live import LiveTable, PlainLines, _headline, duration
from orchestrator.tuning.search_phase import index_of
from orchestrator.tuning.survey import build_index, survey
from orchestrator.tuning.timing import ExpectedTime
from tests.tuning.searches import TPE, finish, tuned
from tests.tuning.sweeps import spec_and_grid, write_record


def row(epoch: int, wall_time_s: float = 2.0) -> EpochMetrics:
    return EpochMetrics(epoch=epoch, train_loss=1.5, val_loss=1.25, val_acc=0.5, lr=1e-3, wall_time_s=wall_time_s)


def console(*, is_terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=is_terminal, width=120, height=40, color_system=None)


def started(listener, results: ResultsDir):
    spec, grid = spec_and_grid()
    standings = survey(grid, results, "tiny")
    listener.start(build_index(spec, grid), standings, grid.trials)
    return grid.trials


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59, "59 s"), (60, "1 min 00 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_tell_each_end_and_the_time_left(results: ResultsDir) -> None:
    out = console(is_terminal=False)
    listener = PlainLines(out)
    first, second, third, *_ = started(listener, results)
    listener.phase("starting")
    listener.event(TrialStarted(first.trial_id))
    listener.event(EpochFinished(first.trial_id, row(1)))
    listener.event(TrialEnded(first.trial_id, State.COMPLETE, write_record(results, first)))
    listener.event(TrialEnded(second.trial_id, State.FAIL, error="no [memory]"))
    listener.event(TrialEnded(third.trial_id, State.WAITING))
    listener.close()
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "tiny: 8 trials, 0 done before, 8 to run"
    assert lines[1] == "starting"
    assert lines[2].startswith("[1/8] d1-self-w8-s0, test accuracy 0.700 in 2 s, ")
    assert lines[2].endswith(" left")
    assert lines[3].startswith("[2/8] d1-self-w8-s1, FAIL: no [memory]")
    assert "stopped, saved" in lines[4]


def test_the_time_left_follows_from_measured_epochs(results: ResultsDir) -> None:
    listener = PlainLines(console(is_terminal=False))
    trials = started(listener, results)
    assert listener.board is not None
    assert listener.board.eta_s() is None
    by_depth = {trial.model.depth: trial for trial in trials if trial.model.attention == "self" and trial.seed == 0}
    for depth, seconds in [(1, 1.0), (2, 2.0)]:
        listener.event(TrialStarted(by_depth[depth].trial_id))
        listener.event(EpochFinished(by_depth[depth].trial_id, row(1, seconds)))
    # Two self trials have one epoch left (1 + 2 s), two have two (2 + 4 s); the four others cost a second a block.
    assert listener.board.eta_s() == pytest.approx((3.0 + 6.0 + 12.0) / 2)


def test_before_the_first_epoch_the_time_left_is_what_was_expected_and_then_corrected_by_it(
    results: ResultsDir,
) -> None:
    listener = PlainLines(console(is_terminal=False))
    trials = started(listener, results)
    board = listener.board
    assert board is not None
    seconds = {("self", 1): 2.0, ("self", 2): 4.0, ("reattention", 1): 3.0, ("reattention", 2): 6.0}
    kinds = {trial.trial_id: (trial.model.attention, trial.model.depth) for trial in trials}
    listener.waiting({trial_id: ExpectedTime(seconds[kind]) for trial_id, kind in kinds.items()})
    assert board.eta_s() is None  # how many will run at one time is not known yet
    first, second = [trial for trial in trials if kinds[trial.trial_id] == ("self", 1)]
    for trial in (first, second):
        listener.event(TrialStarted(trial.trial_id))
    assert board.eta_s() == pytest.approx(2 * 15.0 / 2)
    listener.event(EpochFinished(first.trial_id, row(1, 2.0)))  # twice the expected second
    assert board.eta_s() == pytest.approx((2 * 30.0 - 2.0) / 2)


def test_what_was_expected_is_told_anew_with_the_trials(results: ResultsDir) -> None:
    spec, grid = spec_and_grid()
    known = build_index(spec, grid), survey(grid, results, "tiny"), grid.trials
    listener, first = PlainLines(console(is_terminal=False)), grid.trials[0].trial_id
    listener.start(*known)
    board = listener.board
    assert board is not None
    for expected_s, is_known in ((8.0, True), (0.0, False)):
        listener.waiting({first: ExpectedTime(expected_s)})
        listener.event(TrialStarted(first))
        assert (board.eta_s() is not None) == is_known
        listener.grow(*known)
        listener.event(TrialStarted(first))
        assert board.eta_s() is None


def test_the_time_left_counts_places_that_are_about_to_be_taken_again(results: ResultsDir) -> None:
    listener = PlainLines(console(is_terminal=False))
    first, second, *others = started(listener, results)
    board = listener.board
    assert board is not None
    for trial in (first, second):
        listener.event(TrialStarted(trial.trial_id))
    listener.event(EpochFinished(first.trial_id, row(1, 1.0)))
    before = board.eta_s()
    listener.event(TrialEnded(first.trial_id, State.COMPLETE, write_record(results, first)))
    after = board.eta_s()
    assert before is not None
    assert after is not None
    assert after < before
    for trial in others:
        listener.event(TrialEnded(trial.trial_id, State.FAIL, error="no memory"))
    assert board.eta_s() == pytest.approx(2.0)  # the last one has a place of its own


@pytest.mark.parametrize(
    ("expected", "text"), [(0.0, "unknown until the first epoch"), (60.0, "about 8 min 00 s left")]
)
def test_the_headline_says_what_is_known_as_soon_as_a_trial_runs(
    expected: float, text: str, results: ResultsDir
) -> None:
    out = console(is_terminal=True)
    listener = LiveTable(out)
    trials = started(listener, results)
    known = {trial.trial_id: ExpectedTime(expected) for trial in trials} if expected else {}
    listener.waiting(known)
    assert listener.board is not None
    assert "left" not in _headline(listener.board).plain
    listener.event(TrialStarted(trials[0].trial_id))
    assert text in _headline(listener.board).plain
    listener.close()


def test_the_table_shows_the_grid_filling_in_and_what_runs(results: ResultsDir) -> None:
    out = console(is_terminal=True)
    listener = LiveTable(out)
    trials = started(listener, results)
    listener.phase("starting Ray")
    listener.event(TrialStarted(trials[-1].trial_id))
    listener.event(EpochFinished(trials[-1].trial_id, row(1)))
    listener.event(TrialEnded(trials[0].trial_id, State.COMPLETE))
    listener.event(TrialEnded(trials[1].trial_id, State.DIVERGED))
    listener.close()
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "1/8 trials done" in text
    assert "1 diverged" in text
    assert "●✗" in text
    assert "·◐" in text
    assert "d2-reattention-w8-s1" in text
    assert "1/2" in text


def test_a_damaged_record_is_told_before_anything_runs(results: ResultsDir) -> None:
    _, grid = spec_and_grid()
    write_record(results, grid.trials[0])
    results.trial(grid.trials[0].trial_id).record_file.write_text("{")
    out = console(is_terminal=False)
    started(PlainLines(out), results)
    assert "notice: d1-self-w8-s0 is trained again" in out.file.getvalue()  # type: ignore[attr-defined]


def searched(listener, results: ResultsDir):
    """A listener that was told of a search; the trials of its first batch."""
    spec, grid, tune = tuned(TPE)
    found = survey_searches(grid, tune, results, lambda standing: False)
    due = [trial for one in found.values() for trial in one.due]
    standings = [standing for one in found.values() for standing in one.standings.values()]
    (listener.grow if listener.board else listener.start)(index_of(spec, grid, found), standings, due)
    return due


def test_plain_lines_tell_a_search_apart_and_what_is_known_later(results: ResultsDir) -> None:
    out = console(is_terminal=False)
    listener = PlainLines(out)
    first, second, *_ = searched(listener, results)
    listener.event(TrialStarted(first.trial_id))
    listener.event(TrialEnded(first.trial_id, State.COMPLETE, write_record(results, first)))
    listener.event(TrialEnded(second.trial_id, State.PRUNED, error="given up"))
    finish(results, second)
    searched(listener, results)
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "tuned: 4 trials after a search of 12, 0 done before, 4 search trials to run"
    assert lines[1].startswith("[1/16] d1-self-w8-p0, val accuracy 0.750 in 2 s")
    assert lines[2].startswith("[2/16] d1-self-w8-p1, pruned")
    assert lines[3] == "tuned: 4 trials after a search of 12, 4 search trials to run"


def test_the_table_marks_search_trials_in_rows_of_their_own(results: ResultsDir) -> None:
    out = console(is_terminal=True)
    listener = LiveTable(out)
    first, *_ = searched(listener, results)
    listener.event(TrialStarted(first.trial_id))
    listener.event(EpochFinished(first.trial_id, row(1)))
    listener.event(TrialEnded(first.trial_id, State.PRUNED))
    listener.close()
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "search" in text
    assert "○·" in text
    assert "0/16 trials done" in text
    assert "1 pruned" in text
