"""The benchmark of step times that are told before anything was timed."""

from __future__ import annotations

import pytest

from benchmarks import cold_times
from benchmarks.cold_times import FOR_ALL, SHAPES, Found, Shape, corrected, is_near, main, make_table, pairs
from orchestrator.attention_cost import COSTS

TINY = Shape(8, 4, 1, 16, 2, 2.0, 16)


def test_two_attentions_of_each_shape_are_measured_and_all_of_one() -> None:
    found = list(pairs(SHAPES))
    assert len(found) == len(set(found)) == 2 * (len(SHAPES) - 1) + len(COSTS)
    assert {attention for shape, attention in found if shape == FOR_ALL} == set(COSTS)


def test_the_table_marks_what_is_too_far_off() -> None:
    near, far = Found(TINY, "self", 0.010, 0.0129), Found(TINY, "self", 0.010, 0.0069)
    assert (is_near(near), is_near(far)) == (True, False)
    assert make_table([near, far]).splitlines()[2:] == [
        "| 5 tokens, 1 blocks, D=16, H=2, batch 16 | self | 10.0 | 12.9 | 1.29 |",
        "| 5 tokens, 1 blocks, D=16, H=2, batch 16 | self | 10.0 | 6.9 | 0.69 ! |",
    ]


def test_others_correct_what_a_processor_is_off_in_all() -> None:
    found = [Found(TINY, "self", seconds, 2 * seconds) for seconds in (0.010, 0.020, 0.040)]
    found.append(Found(TINY, "reattention", 0.010, 0.010))
    assert [one.ratio for one in corrected(found)] == pytest.approx([1.0, 1.0, 1.0, 0.5])
    assert corrected(found[:1]) == found[:1]


def test_it_measures_and_ends_by_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cold_times, "SHAPES", (TINY,))
    for limit, code in ((1e9, 0), (0.0, 1)):
        monkeypatch.setattr(cold_times, "LIMIT", limit)
        assert main(["--seconds", "0.05"]) == code
        told = capsys.readouterr().out
        assert "| reattention |" in told
        assert ("2 of 2" if code == 0 else "0 of 2") in told
