"""tuning/lost_starts.py: when a trial that dies again and again is given up."""

from __future__ import annotations

import pytest

from orchestrator.errors import GivenUpError
from orchestrator.record import Attempt
from orchestrator.tuning.lost_starts import check_comes_further


def starts(*told: dict) -> list[Attempt]:
    same = {"host": "h", "process": 1, "device": "cpu", "code_fingerprint": "c", "versions": {}, "started_at": "t"}
    return [Attempt(**{**same, "run": "s 1", "number": number, **fields}) for number, fields in enumerate(told, 1)]


LOST: dict = {}
HUNG = {"outcome": "LOST", "failure": "hung"}
NO_MEMORY = {"outcome": "LOST", "failure": "host_out_of_memory"}


def kind_of(*told: dict, run: str = "s 1", start_from: str | None = None) -> str | None:
    try:
        check_comes_further(starts(*told), run, start_from)
    except GivenUpError as error:
        return error.kind
    return None


def test_three_deaths_at_one_place_are_enough() -> None:
    assert kind_of(LOST, LOST) is None
    assert kind_of(LOST, LOST, LOST) == "crash_loop"
    assert kind_of(*[{"started_from": "2-0"}] * 3, start_from="2-0") == "crash_loop"


def test_what_came_further_never_counts() -> None:
    assert kind_of(LOST, LOST, LOST, start_from="1-0") is None
    assert kind_of(LOST, {"started_from": "1-0"}, {"started_from": "1-0"}, start_from="1-0") is None
    assert kind_of(*[{"started_from": f"{epoch}-0"} for epoch in range(20)], start_from="20-0") is None


@pytest.mark.parametrize("outcome", ["FAIL", "STOPPED"])
def test_a_failure_or_a_stop_ends_the_count(outcome: str) -> None:
    assert kind_of(LOST, LOST, LOST, {"outcome": outcome}) is None
    assert kind_of(LOST, LOST, LOST, {"outcome": outcome}, LOST, LOST) is None


def test_other_runs_count_less_because_they_may_have_ended_the_trial() -> None:
    assert kind_of(*[LOST] * 9, run="s 2") is None
    assert kind_of(*[LOST] * 10, run="s 2") == "crash_loop"


def test_hangs_and_want_of_memory_are_told_as_such_and_the_sentence_names_places() -> None:
    assert kind_of(HUNG, HUNG, HUNG) == "hung"
    assert kind_of(HUNG, LOST, HUNG) == "crash_loop"
    assert kind_of(NO_MEMORY, NO_MEMORY, NO_MEMORY) == "host_out_of_memory"
    assert kind_of(NO_MEMORY, HUNG, NO_MEMORY) == "crash_loop"
    with pytest.raises(GivenUpError, match=r"3 starts in a row from checkpoint 2-0 died .*attempts 1, 2, 3, on h"):
        check_comes_further(starts(*[{"started_from": "2-0"}] * 3), "s 1", "2-0")
