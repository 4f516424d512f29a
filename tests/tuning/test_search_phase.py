"""search_phase.py: all cells searched, then measured with what was chosen; the same after an interruption."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence

import pytest

from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning import serial
from orchestrator.tuning.events import Event, RunSettings, TrialEnded
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import Summary, run_sweep
from tests.tuning import searches
from tests.tuning.searches import PRUNING, TEXT, TPE, is_search_trial, tuned, write_attempt
from tests.tuning.sweeps import write_record
from tests.tuning.test_sweep import Ears


class Told(Ears):
    """A listener that remembers what was known at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[list[Trial]] = []

    def start(self, index, standings, to_run) -> None:
        self.grow(index, standings, to_run)

    def grow(self, index, standings, to_run) -> None:
        self.index = index
        self.rounds.append(list(to_run))


class Killer(Told):
    """A listener that asks for a stop after so many trials."""

    def __init__(self, num_trials: int) -> None:
        super().__init__()
        self.num_left = num_trials

    def event(self, event: Event) -> None:
        super().event(event)
        self.num_left -= isinstance(event, TrialEnded)
        if self.num_left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def _instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "execute", searches.execute)


def run(results: ResultsDir, text: str = TEXT, *listeners: Ears, **options: bool) -> Summary:
    spec, grid, _ = tuned(text)
    return run_sweep(spec, grid, results, RunOptions(executor="serial", **options), listeners)


def trained(results: ResultsDir) -> set[str]:
    return {folder.path.name for folder in results.trials()}


def test_every_cell_is_searched_before_any_is_measured_and_all_side_by_side(results: ResultsDir) -> None:
    told = Told()
    summary = run(results, TEXT, told)
    search, measured = told.rounds
    assert [len(search), len(measured)] == [12, 4]
    assert all(map(is_search_trial, search))
    assert not any(map(is_search_trial, measured))
    assert [trial.model.depth for trial in search] == [2] * 6 + [1] * 6  # the longest first
    counts = (summary.num_trials, summary.num_finished, summary.num_unfinished, summary.exit_code)
    assert counts == (4, 4, 0, 0)
    assert summary.search is not None
    assert (summary.search.num_trials, summary.search.num_finished, summary.search.num_chosen) == (12, 12, 2)


def test_cells_are_measured_with_what_was_chosen_for_them(results: ResultsDir) -> None:
    run(results)
    found = results.sweep("tuned").read_tuned()
    assert found is not None
    index = results.sweep("tuned").read_index()
    for cell in found.cells:
        assert cell.choice is not None
        members = [member for member in index.members if member.cell_id == cell.cell_id]
        assert [member.seed for member in members] == [0, 1]
        for member in members:
            record = results.trial(member.trial_id).read_record()
            assert record is not None
            assert record.trial["train"]["lr"] == cell.choice.values["lr"]
            assert member.axes == cell.axes
    assert {member.phase for member in index.search} == {"tune"}
    assert (index.num_pending, index.num_search_pending) == (0, 0)


def test_a_second_run_trains_nothing_and_writes_nothing(results: ResultsDir) -> None:
    run(results)
    folder = results.sweep("tuned")
    before = {path: path.stat().st_mtime_ns for path in folder.path.iterdir() if path != folder.runs}
    again = run(results)
    assert (again.num_reused, again.num_finished) == (4, 4)
    assert {path: path.stat().st_mtime_ns for path in folder.path.iterdir() if path in before} == before


@pytest.mark.parametrize("text", [TEXT, TPE, PRUNING], ids=["quasi_random", "tpe", "prune"])
def test_an_interrupted_search_ends_as_an_uninterrupted_one(text: str, results: ResultsDir, tmp_path) -> None:
    whole = ResultsDir(tmp_path / "whole")
    run(whole, text)
    stopped = run(results, text, Killer(7))
    assert stopped.stopped_by == signal.SIGTERM
    assert stopped.num_trials == stopped.num_unfinished == 4
    assert (stopped.num_finished, stopped.num_trials) == (0, 4)
    run(results, text)
    assert trained(results) == trained(whole)
    assert results.sweep("tuned").read_tuned() == whole.sweep("tuned").read_tuned()
    assert results.sweep("tuned").read_index() == whole.sweep("tuned").read_index()


def test_a_stop_in_the_search_leaves_an_index_of_what_is_known(results: ResultsDir) -> None:
    run(results, TPE, Killer(3))
    index = results.sweep("tuned").read_index()
    assert index.members == ()
    assert (len(index.search), index.num_search_pending, index.num_pending) == (
        6,
        6,
        4,
    )  # the cell that is over has its next batch


def test_batches_of_tpe_are_rounds(results: ResultsDir) -> None:
    told = Told()
    run(results, TPE, told)
    assert [len(one) for one in told.rounds] == [4, 4, 4, 4]


def test_a_grown_grid_searches_only_its_new_cells(results: ResultsDir) -> None:
    run(results)
    before = trained(results)
    told = Told()
    summary = run(results, TEXT.replace("[1, 2]", "[1, 2, 3]"), told)
    assert [len(one) for one in told.rounds] == [6, 2]
    assert {trial.model.depth for one in told.rounds for trial in one} == {3}
    assert before < trained(results)
    assert (summary.num_trials, summary.num_reused) == (6, 4)


def test_more_proposals_only_add_search_trials_and_a_new_choice_measures_anew(results: ResultsDir) -> None:
    run(results)
    first = results.sweep("tuned").read_tuned()
    told = Told()
    run(results, TEXT.replace("num_trials: 6", "num_trials: 20"), told)
    more = results.sweep("tuned").read_tuned()
    assert first is not None
    assert more is not None
    assert len(told.rounds[0]) == 2 * 14
    for before, after in zip(first.cells, more.cells, strict=True):
        assert before.cell_id == after.cell_id
        assert after.proposals[:6] == before.proposals
    changed = [a for b, a in zip(first.cells, more.cells, strict=True) if a.choice.values != b.choice.values]
    assert changed
    assert len(told.rounds[1]) == 2 * len(changed)


def failing(values: set[float]):
    """An executor in which every search trial with one of these learning rates fails."""

    def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
        results = ResultsDir(settings.results_root)
        for trial in trials:
            if is_search_trial(trial) and trial.train.lr in values:
                write_attempt(results, trial, outcome="FAIL", error="no memory")
                yield TrialEnded(trial.trial_id, State.FAIL, error="no memory")
            else:
                yield from searches.execute([trial], settings)

    return execute


def test_a_failed_proposal_is_left_out_told_and_tried_again_when_asked(
    results: ResultsDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    lr = searches.survey(results)[0].due[2].train.lr
    monkeypatch.setattr(serial, "execute", failing({lr}))
    summary = run(results)
    assert (summary.num_finished, summary.exit_code) == (4, 1)
    assert summary.search is not None
    assert (summary.search.num_failed, summary.search.num_chosen) == (1, 2)
    monkeypatch.setattr(serial, "execute", searches.execute)
    assert run(results).exit_code == 1
    again = run(results, retry_failed=True)
    assert again.search is not None
    assert (again.search.num_failed, again.exit_code) == (0, 0)


def test_a_cell_in_which_every_proposal_diverged_is_named_and_the_others_are_measured(results: ResultsDir) -> None:
    for trial in searches.survey(results)[0].due:
        nothing = dict.fromkeys(("val_acc", "val_loss", "test_acc", "test_loss"))
        fingerprint = fingerprint_of_digits()
        write_record(results, trial, state=State.DIVERGED, data_fingerprint=fingerprint, **nothing)
    summary = run(results)
    assert (summary.num_trials, summary.num_finished, summary.num_unfinished, summary.exit_code) == (4, 2, 2, 1)
    assert summary.search is not None
    (problem,) = summary.search.problems
    assert problem.startswith("depth 1: none of 6 proposals completed (6 diverged), so there is nothing to measure")


def fingerprint_of_digits() -> str:
    from orchestrator.training.data import prepare_data

    return prepare_data(tuned()[1].searches[tuned()[1].cells[0].cell_id].base.data)


def test_changed_code_searches_again_only_when_asked(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator import provenance

    run(results)
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "other")
    told = Told()
    run(results, TEXT, told)
    assert told.rounds == [[]]
    told = Told()
    run(results, TEXT, told, retrain_changed=True)
    assert [len(one) for one in told.rounds] == [12, 4]


@pytest.mark.parametrize("name", ["tuned.json", "trials.json"])
def test_a_damaged_summary_of_the_search_is_made_again_from_the_records(results: ResultsDir, name: str) -> None:
    run(results)
    path = results.sweep("tuned").path / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert run(results).num_reused == 4
    assert path.read_bytes() == content


def test_search_trials_are_not_probed(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[tuple[bool, bool]] = []

    def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
        probed.extend((is_search_trial(trial), settings.probe is not None) for trial in trials)
        yield from searches.execute(trials, settings)

    monkeypatch.setattr(serial, "execute", execute)
    run(results)
    assert set(probed) == {(True, False), (False, True)}
