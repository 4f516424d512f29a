"""MLflow says what the files say, whatever was there before, and saying it twice changes nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest

from orchestrator import durable
from orchestrator.errors import LockedError
from orchestrator.record import SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.tuning.sync import open_sweep, sync
from tests.tuning.shown import Shown, close_to, make_stored_sweep, put_store
from tests.tuning.sweep_files import (
    diverge_trial,
    finish_trial,
    make_index,
    make_sweep,
    name_curves,
    start_trial,
    trials_of,
    write_index,
    write_rows,
)


def grow(results: ResultsDir, index: SweepIndex, accs: list[float]) -> None:
    """The sweep's index becomes `index`, and its first trials finish."""
    write_index(results, index)
    for trial, acc in zip(trials_of(index), accs, strict=False):
        finish_trial(results, trial, acc)


def test_each_finished_trial_is_a_child_of_the_one_parent(results: ResultsDir) -> None:
    trials = make_stored_sweep(results, make_index((2, 4)), [0.5, 0.6])
    assert sync(results, "s", name_curves).num_trials == 2
    shown = Shown(results)
    assert set(shown.children) == {trial.trial_id for trial in trials}
    child = shown.children[trials[0].trial_id]
    assert child.info.run_name == trials[0].label
    assert child.data.params["model.depth"] == "2"
    assert shown.points(child)["train_loss"] == [(1, 2.0), (2, 1.0)]
    assert shown.points(child)["final/test_acc"] == [(2, 0.5)]


def test_the_parent_draws_accuracy_against_depth(results: ResultsDir) -> None:
    make_stored_sweep(
        results, make_index((2, 4), ("self", "reattention"), (0, 1)), [0.1, 0.2, 0.3, 0.5, 0.5, 0.7, 0.9, 0.8]
    )
    sync(results, "s", name_curves)
    shown = Shown(results)
    points = shown.points(shown.parent)
    assert close_to(points["test_acc/self"], [(2, fmean([0.1, 0.2])), (4, fmean([0.5, 0.7]))])
    assert close_to(points["test_acc/reattention"], [(2, fmean([0.3, 0.5])), (4, fmean([0.9, 0.8]))])
    assert set(points) == {
        f"{metric}/{curve}" for metric in ("val_acc", "test_acc") for curve in ("self", "reattention")
    }


def test_syncing_twice_writes_nothing(results: ResultsDir) -> None:
    index = make_index((2, 4, 6), ("self",), (0, 1))
    trials = make_stored_sweep(results, index, [0.5, 0.6])
    diverge_trial(results, trials[2])
    start_trial(results, trials[3], 1)
    first = sync(results, "s", name_curves)
    before = Shown(results).content()
    second = sync(results, "s", name_curves)
    assert (first.num_trials, second.num_trials, second.num_writes) == (4, 4, 0)
    assert first.num_writes > 0
    assert Shown(results).content() == before


def test_a_mirror_that_is_rebuilt_says_what_the_old_one_said(results: ResultsDir) -> None:
    trials = make_stored_sweep(results, make_index((2, 4)), [0.5])
    start_trial(results, trials[1], 2)
    with open_sweep(results, results.sweep("s").read_index(), name_curves) as writer:
        writer.update([trials[1].trial_id], [trials[1].trial_id])
        finish_trial(results, trials[1], 0.6)
        writer.update([trials[1].trial_id], [], is_last=True)
    live = Shown(results).content()
    results.mlflow_db.unlink()
    put_store(results)
    moved = ResultsDir(results.root.with_name("moved"))
    shutil.copytree(results.root, moved.root)
    sync(moved, "s", name_curves)
    assert Shown(moved).content() == live


def test_more_seeds_give_one_new_parent_with_the_new_mean(results: ResultsDir) -> None:
    make_stored_sweep(results, make_index((2, 4), ("self",), (0,)), [0.5, 0.6])
    sync(results, "s", name_curves)
    before = Shown(results)
    grow(results, make_index((2, 4), ("self",), (0, 1)), [0.5, 0.7, 0.6, 0.8])
    sync(results, "s", name_curves)
    after = Shown(results)
    assert after.parent.info.run_id != before.parent.info.run_id
    assert close_to(after.points(after.parent)["test_acc/self"], [(2, 0.6), (4, 0.7)])
    assert len(after.children) == 4
    assert {run.info.run_id for run in before.children.values()} <= {run.info.run_id for run in after.children.values()}


def test_a_deeper_cell_is_added_to_the_parent_there_is(results: ResultsDir) -> None:
    make_stored_sweep(results, make_index((2,)), [0.5])
    sync(results, "s", name_curves)
    before = Shown(results).parent.info.run_id
    grow(results, make_index((2, 4)), [0.5, 0.6])
    sync(results, "s", name_curves)
    shown = Shown(results)
    assert shown.parent.info.run_id == before
    assert shown.points(shown.parent)["test_acc/self"] == [(2, 0.5), (4, 0.6)]


def test_a_smaller_grid_loses_its_children_and_points(results: ResultsDir) -> None:
    make_stored_sweep(results, make_index((2, 4)), [0.5, 0.6])
    sync(results, "s", name_curves)
    write_index(results, make_index((2,)))
    sync(results, "s", name_curves)
    shown = Shown(results)
    assert (len(shown.children), shown.points(shown.parent)["test_acc/self"]) == (1, [(2, 0.5)])


def test_a_trial_that_was_trained_again_is_shown_with_its_new_numbers_only(results: ResultsDir) -> None:
    (trial,) = make_stored_sweep(results, make_index((2,)), [0.5])
    sync(results, "s", name_curves)
    finish_trial(results, trial, 0.7)
    write_rows(results, trial, 2, train_loss=3.0)
    sync(results, "s", name_curves)
    shown = Shown(results)
    (child,) = shown.children.values()
    assert shown.points(child)["train_loss"] == [(1, 3.0), (2, 1.5)]
    assert shown.points(child)["final/test_acc"] == [(2, 0.7)]
    assert shown.points(shown.parent)["test_acc/self"] == [(2, 0.7)]


def test_a_trial_that_goes_on_from_an_earlier_epoch_keeps_its_run(results: ResultsDir) -> None:
    (trial,) = make_stored_sweep(results, make_index((2,)))
    start_trial(results, trial, 3)
    sync(results, "s", name_curves)
    before = Shown(results).children[trial.trial_id].info.run_id
    write_rows(results, trial, 2)
    sync(results, "s", name_curves)
    write_rows(results, trial, 4)
    sync(results, "s", name_curves)
    shown = Shown(results)
    child = shown.children[trial.trial_id]
    assert child.info.run_id == before
    assert [step for step, _ in shown.points(child)["train_loss"]] == [1, 2, 3, 4]


def test_means_over_some_seeds_are_shown_when_nothing_runs_any_more(results: ResultsDir) -> None:
    index = make_index((2, 4), ("self",), (0, 1))
    make_stored_sweep(results, index, [0.5, 0.6, 0.9])
    with open_sweep(results, index, name_curves) as writer:
        writer.update((), ())
        running = Shown(results)
        assert [step for step, _ in running.points(running.parent)["test_acc/self"]] == [2]
        assert running.parent.info.status == "RUNNING"
        writer.update((), (), is_last=True)
    shown = Shown(results)
    assert [step for step, _ in shown.points(shown.parent)["test_acc/self"]] == [2, 4]
    with open_sweep(results, index, name_curves) as writer:
        writer.update((), ())
        assert Shown(results).parent.info.run_id == shown.parent.info.run_id


def test_what_a_killed_driver_left_running_is_ended(results: ResultsDir) -> None:
    index = make_index((2, 4))
    trials = make_stored_sweep(results, index)
    start_trial(results, trials[0], 1)
    with open_sweep(results, index, name_curves) as writer:
        writer.update([trials[0].trial_id], [trials[0].trial_id])
    assert {run.info.status for run in Shown(results).runs} == {"RUNNING"}
    start_trial(results, trials[1], 1)
    with open_sweep(results, index, name_curves) as writer:
        writer.update([trials[1].trial_id], [trials[1].trial_id])
        states = {trial_id: run.info.status for trial_id, run in Shown(results).children.items()}
        assert states == {trials[0].trial_id: "KILLED", trials[1].trial_id: "RUNNING"}
    sync(results, "s", name_curves)
    assert {run.info.status for run in Shown(results).runs} == {"KILLED"}


def test_surplus_parents_and_twins_that_a_crash_left_are_removed(results: ResultsDir) -> None:
    index = make_index((2,))
    make_stored_sweep(results, index, [0.5])
    sync(results, "s", name_curves)
    expected, shown = Shown(results).content(), Shown(results)
    for run in shown.runs:
        own = {name: value for name, value in run.data.tags.items() if name not in ("mlflow.runName", "content_digest")}
        shown.client.create_run(run.info.experiment_id, run.info.start_time, own, "twin")
    assert len(Shown(results).runs) == 4
    sync(results, "s", name_curves)
    assert Shown(results).content() == expected


def test_tags_that_a_person_added_survive_a_new_parent(results: ResultsDir) -> None:
    make_stored_sweep(results, make_index((2,), ("self",), (0,)), [0.5])
    sync(results, "s", name_curves)
    shown = Shown(results)
    shown.client.set_tag(shown.parent.info.run_id, "used_in", "figure 3")
    grow(results, make_index((2,), ("self",), (0, 1)), [0.5, 0.7])
    sync(results, "s", name_curves)
    assert Shown(results).parent.data.tags["used_in"] == "figure 3"


def test_a_trial_with_a_damaged_file_is_named_and_the_others_are_shown(results: ResultsDir) -> None:
    trials = make_stored_sweep(results, make_index((2, 4)), [0.5, 0.6])
    results.trial(trials[0].trial_id).record_file.write_text("{")
    summary = sync(results, "s", name_curves)
    assert summary.num_trials == 1
    assert [trials[0].trial_id in text for text in summary.damaged] == [True]


def test_a_trial_whose_folder_is_gone_is_gone(results: ResultsDir) -> None:
    trials = make_stored_sweep(results, make_index((2, 4)), [0.5, 0.6])
    sync(results, "s", name_curves)
    durable.remove_folder(results.trial(trials[1].trial_id).path)
    sync(results, "s", name_curves)
    assert set(Shown(results).children) == {trials[0].trial_id}


def test_a_sweep_that_never_started_has_no_run(results: ResultsDir) -> None:
    make_stored_sweep(results, make_index((2, 4)))
    assert sync(results, "s", name_curves).num_writes == 0


def test_two_sweeps_share_a_trial_and_each_shows_it(results: ResultsDir) -> None:
    make_stored_sweep(results, make_index((2,)), [0.5])
    write_index(results, replace(make_index((2,)), name="other"))
    sync(results, "s", name_curves)
    sync(results, "other", name_curves)
    assert set(Shown(results).children) == set(Shown(results, "other").children)


def test_figures_of_the_report_are_the_parents_artifacts(results: ResultsDir) -> None:
    make_stored_sweep(results, make_index((2,)), [0.5])
    figure = results.sweep("s").report / "figures" / "accuracy.svg"
    durable.write_text(figure, "<svg/>")
    durable.write_text(figure.with_suffix(".csv"), "depth")
    sync(results, "s", name_curves)
    parent = Shown(results).parent.info.run_id
    (kept,) = [path for path in results.mlflow_artifacts.rglob("*") if path.is_file()]
    assert kept == results.mlflow_artifacts / "s" / parent / "artifacts" / "figures" / "accuracy.svg"
    assert sync(results, "s", name_curves).num_writes == 0
    durable.write_text(figure, "<svg>new</svg>")
    assert sync(results, "s", name_curves).num_writes == 2
    assert kept.read_text() == "<svg>new</svg>"


def test_figures_move_to_the_new_parent(results: ResultsDir) -> None:
    make_stored_sweep(results, make_index((2,), ("self",), (0,)), [0.5])
    durable.write_text(results.sweep("s").report / "accuracy.svg", "<svg/>")
    sync(results, "s", name_curves)
    grow(results, make_index((2,), ("self",), (0, 1)), [0.5, 0.7])
    sync(results, "s", name_curves)
    (kept,) = [path for path in results.mlflow_artifacts.rglob("*") if path.is_file()]
    assert Shown(results).parent.info.run_id in kept.parts


def test_only_one_process_mirrors_a_sweep(results: ResultsDir) -> None:
    index = make_index((2,))
    make_stored_sweep(results, index, [0.5])
    with open_sweep(results, index, name_curves), pytest.raises(LockedError, match="MLflow mirror"):
        sync(results, "s", name_curves)


def test_two_results_folders_share_a_store_without_touching_each_other(tmp_path: Path) -> None:
    here, there = ResultsDir(tmp_path / "here"), ResultsDir(tmp_path / "there")
    put_store(here)
    uri = f"sqlite:///{here.mlflow_db}"
    make_sweep(here, make_index((2,)), [0.5])
    make_sweep(there, make_index((2,)), [0.9])
    sync(here, "s", name_curves, tracking_uri=uri)
    sync(there, "s", name_curves, tracking_uri=uri)
    assert len(Shown(here, uri=uri).runs) == 4
    assert sync(here, "s", name_curves, tracking_uri=uri).num_writes == 0
