"""Tables of the answers: the same numbers as the answers, in points, in a frame and as texts."""

from __future__ import annotations

import pandas as pd
import pytest

from orchestrator.views.answer_tables import (
    CONTRAST_TYPES,
    DELTA_TYPES,
    SATURATION_TYPES,
    contrast_frame,
    contrast_table,
    delta_frame,
    delta_table,
    saturation_frame,
    saturation_table,
)
from orchestrator.views.answers import find_answers
from orchestrator.views.arms import Arm
from orchestrator.views.frames import Frames
from orchestrator.views.report_content import ABSENT
from orchestrator.views.stats import score_seeds


def test_a_row_of_the_deltas_is_one_pair_at_one_depth_in_points(frames: Frames) -> None:
    frame = delta_frame(frames.answers)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == dict(DELTA_TYPES)
    assert len(frame) == 3 * 4
    found = frames.answers.comparisons[0].deltas[1]
    row = frame[(frame["a"] == "reattention") & (frame["b"] == "self") & (frame["depth"] == 8)].iloc[0]
    assert row["delta_points"] == pytest.approx(found.difference.estimate.value * 100)
    assert row["low_points"] == pytest.approx((found.difference.estimate.low or 0) * 100)
    assert (row["holm_p"], row["p"]) == (found.holm_p, found.difference.estimate.p)
    assert (row["improvement"], row["n"], row["num_images"]) == (found.improvement.probability, 6, 400)
    assert row["smallest_sign_flip_p"] == 2 / 2**6
    assert row["detectable_points"] == pytest.approx((found.difference.detectable or 0) * 100)
    assert row["method"] == "seed x image"


def test_contrasts_are_named_and_say_their_depths(frames: Frames) -> None:
    frame = contrast_frame(frames.answers)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == dict(CONTRAST_TYPES)
    assert list(frame["contrast"]) == ["difference in differences", "pooled"] * 3
    assert set(zip(frame["shallow"], frame["deep"], frame["num_depths"], strict=True)) == {(4, 16, 4)}


def test_a_row_of_the_saturation_is_one_curve(frames: Frames) -> None:
    frame = saturation_frame(frames.answers)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == dict(SATURATION_TYPES)
    assert list(frame["curve"]) == ["self-attention", "Re-attention", "mix_only"]
    for row, (_, answer) in zip(frame.itertuples(), frames.answers.saturation, strict=True):
        assert row.verdict == str(answer.verdict)
        assert row.last_gain_points == pytest.approx(answer.last_gain.value * 100)
        is_reached = answer.hinge is not None and answer.hinge.is_reached
        assert pd.isna(row.knee) == (not is_reached)


def test_the_texts_of_the_page_are_the_numbers_of_the_frames(frames: Frames) -> None:
    answers = frames.answers
    for table, frame in (
        (delta_table(answers), delta_frame(answers)),
        (contrast_table(answers), contrast_frame(answers)),
    ):
        at = table.headings.index("points")
        shown = [float(row[at].replace("\N{MINUS SIGN}", "-")) for row in table.rows]
        assert shown == pytest.approx(list(frame["delta_points"]), abs=0.051)
        assert all(len(row) == len(table.headings) for row in table.rows)
    assert len(saturation_table(answers).rows) == 3
    assert all(len(row) == len(saturation_table(answers).headings) for row in saturation_table(answers).rows)


def test_what_does_not_exist_is_a_dash_and_missing() -> None:
    arms = [Arm(name, {"attention": name}, {4: score_seeds([acc])}, 0) for name, acc in (("self", 0.5), ("b", 0.6))]
    answers = find_answers(arms)
    (row,) = delta_table(answers).rows
    assert row.count(ABSENT) == 5
    frame = delta_frame(answers)
    assert frame[["low_points", "high_points", "p", "holm_p", "sign_flip_p", "detectable_points"]].isna().all(axis=None)
    assert contrast_table(answers).rows == ()
    assert len(contrast_frame(answers)) == len(saturation_frame(answers)) == 0
