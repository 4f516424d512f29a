"""The benchmark of tracking: its table, and that it trains what it says."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import list_benchmarks
from benchmarks.tracking import ARMS, hanging_server, make_table, ratios, run_sweep


def test_it_is_listed() -> None:
    assert "never answers" in list_benchmarks()["tracking"]


def test_an_arm_that_costs_more_than_the_limit_is_marked() -> None:
    times = {"off": [10.0, 20.0, 10.0], "on": [10.1, 20.1, 90.0], "hanging": [10.5, 21.0, 10.6]}
    assert ratios(times)["on"] == pytest.approx(1.01)
    off, on, hanging = make_table(times).splitlines()[2:]
    assert "!" not in off
    assert "!" not in on
    assert hanging == "| hanging | 10.60 | 1.050 ! |"


@pytest.mark.slow
def test_beside_a_server_that_never_answers_the_sweep_is_trained() -> None:
    assert "hanging" in ARMS
    with hanging_server() as uri:
        assert run_sweep("hanging", 1, uri) > 0
