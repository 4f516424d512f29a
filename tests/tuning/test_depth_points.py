"""One point a cell at step = depth: means over finished seeds, names MLflow takes, one point a depth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.record import State, SweepIndex, TrialRecord
from orchestrator.tuning.depth_points import MAX_NOTE, cell_means, metric_suffixes, sweep_content
from orchestrator.tuning.run_content import RunContent
from orchestrator.views.curves import name_curves as name_curves_of_the_report
from tests.tuning.sweep_files import make_index, make_record, make_trial, member_of, name_curves, trials_of


def records_of(index: SweepIndex, accs: Iterable[float]) -> dict[str, TrialRecord]:
    return {trial.trial_id: make_record(trial, acc) for trial, acc in zip(trials_of(index), accs, strict=False)}


def content_of(index: SweepIndex, records: dict[str, TrialRecord], **options: Any) -> RunContent:
    known = {"start_ms": 0, "end_ms": 1, "is_running": False, **options}
    return sweep_content(index, records, name_curves, **known)


def points(content: RunContent) -> dict[tuple[str, int], float]:
    return {(point.key, point.step): point.value for point in content.points}


def test_a_point_is_the_mean_over_the_seeds_of_its_cell() -> None:
    index = make_index((2, 4), ("self",), (0, 1, 2))
    content = content_of(index, records_of(index, [0.1, 0.2, 0.6, 0.5, 0.5, 0.5]))
    assert points(content)["test_acc/self", 2] == pytest.approx(fmean([0.1, 0.2, 0.6]))
    assert set(points(content)) == {
        ("test_acc/self", 2),
        ("test_acc/self", 4),
        ("val_acc/self", 2),
        ("val_acc/self", 4),
    }


def test_a_diverged_seed_is_counted_and_not_averaged() -> None:
    index = make_index((2,), ("self",), (0, 1))
    records = records_of(index, [0.4, 0.9])
    last = index.members[1].trial_id
    records[last] = replace(records[last], state=State.DIVERGED, test_acc=None, val_acc=None)
    (cell,) = cell_means(index, records, name_curves)
    assert (cell.means["test_acc"], cell.num_complete, cell.num_seeds, cell.is_whole) == (0.4, 1, 2, True)


def test_a_cell_without_a_complete_trial_has_no_point() -> None:
    index = make_index((2, 4))
    records = records_of(index, [0.4])
    assert {step for _, step in points(content_of(index, records))} == {2}


def test_while_a_sweep_runs_a_cell_waits_for_all_its_seeds() -> None:
    index = make_index((2, 4), ("self",), (0, 1))
    content = content_of(index, records_of(index, [0.4, 0.5, 0.6]), is_running=True)
    assert {point.step for point in content.points} == {2}
    assert {point.step for point in content.optional} == {4}
    assert content.status == "RUNNING"


@pytest.mark.parametrize(("num_known", "status"), [(2, "FINISHED"), (1, "KILLED")])
def test_the_status_says_whether_all_trials_are_there(num_known: int, status: str) -> None:
    index = make_index((2, 4))
    assert content_of(index, records_of(index, [0.4, 0.5][:num_known])).status == status


def test_further_axes_are_appended_and_conditional_ones_that_do_not_apply_are_not() -> None:
    trials = [make_trial(2, "self", lr=0.1), make_trial(2, "reattention", lr=0.1)]
    members = (
        member_of(trials[0], depth=2, attention="self", reattention_last=None),
        member_of(trials[1], depth=2, attention="reattention", reattention_last=4),
    )
    index = SweepIndex(name="s", axes=("depth", "attention", "reattention_last"), members=members)
    records = {trial.trial_id: make_record(trial) for trial in trials}
    content = sweep_content(index, records, name_curves_of_the_report, start_ms=0, end_ms=1, is_running=False)
    keys = {point.key for point in content.points}
    assert keys >= {"test_acc/self", "test_acc/reattention/reattention_last 4"}


def test_without_a_depth_axis_every_cell_stands_at_the_only_depth() -> None:
    trial = make_trial(6)
    index = SweepIndex(name="s", axes=(), members=(member_of(trial),))
    assert set(points(content_of(index, {trial.trial_id: make_record(trial)}))) == {("test_acc", 6), ("val_acc", 6)}


def test_two_cells_that_are_called_the_same_get_a_name_each() -> None:
    trials = [make_trial(2, lr=0.1), make_trial(2, lr=0.2)]
    index = SweepIndex(name="s", axes=("depth",), members=tuple(member_of(trial, depth=2) for trial in trials))
    content = content_of(index, {trial.trial_id: make_record(trial) for trial in trials})
    assert len({(point.key, point.step) for point in content.points}) == len(content.points) == 4


CURVES = st.lists(st.lists(st.text(max_size=12), max_size=3).map(tuple), min_size=1, max_size=6)


@given(CURVES)
def test_names_are_legal_and_as_different_as_the_curves(curves: list[tuple[str, ...]]) -> None:
    from mlflow.utils.validation import _validate_metric_name

    curves = [curve or ("none",) for curve in curves]
    names = metric_suffixes(curves)
    for name in names:
        _validate_metric_name(f"test_acc/{name}")
    assert len(set(names)) == len(set(curves))


def test_names_that_become_equal_are_told_apart() -> None:
    one, other = metric_suffixes([("a(b)",), ("a[b]",)])
    assert one.startswith("a_b_")
    assert other.startswith("a_b_")
    assert one != other


def test_the_note_has_each_mean_with_its_seeds_and_fits_into_a_tag() -> None:
    index = make_index(range(1, 400))
    records = records_of(index, [0.25] * 400)
    note = content_of(index, records).tags["mlflow.note.content"]
    assert "| self | 1 | 0.2500 | 0.2600 | 1 of 1 |" in note
    assert "and more" in note
    assert len(note) <= MAX_NOTE


def test_what_a_person_wrote_is_redacted() -> None:
    index = replace(make_index((2,)), question="Is https://me:pw@host enough?")
    assert "pw" not in str(content_of(index, records_of(index, [0.5])).tags)
