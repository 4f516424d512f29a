"""When a run can be completed, and when it has to be written anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tuning.run_content import Point, RunContent
from orchestrator.tuning.shown_run import DIGEST_TAG, ShownRun

POINTS = st.dictionaries(
    st.tuples(st.sampled_from(["val_acc", "test_acc/self", "final/val_acc"]), st.integers(0, 9)), st.floats(0, 1)
)


def content_of(points: dict[tuple[str, int], float], **changes: object) -> RunContent:
    known = {"name": "r", "status": "FINISHED", "start_ms": 0, "end_ms": 1, "params": {"depth": "2"}, "tags": {}}
    made = tuple(Point(key, step, value, 0) for (key, step), value in points.items())
    return RunContent(**{**known, "points": made, **changes})  # type: ignore[arg-type]


def shown(points: dict[tuple[str, int], float], /, **changes: object) -> ShownRun:
    known = {"run_id": "i", "status": "FINISHED", "end_ms": 1, "artifact_uri": "", "params": {"depth": "2"}, "tags": {}}
    return ShownRun(**{**known, "points": {place: [value] for place, value in points.items()}, **changes})  # type: ignore[arg-type]


@given(POINTS, st.data())
def test_a_run_that_shows_a_part_can_be_completed(points: dict[tuple[str, int], float], data: st.DataObject) -> None:
    part = data.draw(st.sets(st.sampled_from(sorted(points)))) if points else set()
    assert not shown({place: points[place] for place in part}).contradicts(content_of(points))


@given(POINTS.filter(bool))
def test_a_point_with_another_value_is_a_contradiction(points: dict[tuple[str, int], float]) -> None:
    place = min(points)
    assert shown({**points, place: points[place] + 0.5}).contradicts(content_of(points))


@given(POINTS)
def test_a_point_too_many_is_a_contradiction_unless_it_may_come_again(points: dict[tuple[str, int], float]) -> None:
    run = shown({**points, ("val_acc", 10): 0.5})
    assert run.contradicts(content_of(points))
    assert not run.contradicts(content_of(points, is_growing=True))
    assert not run.contradicts(content_of(points, optional=(Point("val_acc", 10, 0.5, 0),)))
    assert run.contradicts(content_of(points, optional=(Point("val_acc", 10, 0.6, 0),)))


@pytest.mark.parametrize("is_growing", [True, False])
def test_a_point_shown_twice_is_a_contradiction(is_growing: bool) -> None:
    run = shown({}, points={("val_acc", 1): [0.5, 0.5]})
    assert run.contradicts(content_of({("val_acc", 1): 0.5}, is_growing=is_growing))


def test_metrics_that_others_logged_are_left_alone() -> None:
    assert not shown({}, points={("system/cpu", 1): [0.5, 0.7]}).contradicts(content_of({}))


def test_a_param_with_another_value_is_a_contradiction_and_a_missing_one_is_not() -> None:
    assert shown({}, params={"depth": "3"}).contradicts(content_of({}))
    assert not shown({}, params={"by hand": "x"}).contradicts(content_of({}))


def test_a_run_is_known_to_be_whole_by_digest_and_status() -> None:
    content = content_of({("val_acc", 1): 0.5})
    run = shown({}, tags={DIGEST_TAG: content.digest})
    assert run.shows(content)
    assert not replace(run, status="RUNNING").shows(content)
    assert not run.shows(replace(content, end_ms=2))
