"""tuning/same_error.py: one bug that meets trial after trial stops a run."""

from __future__ import annotations

from orchestrator.record import State
from orchestrator.tuning.events import TrialEnded
from orchestrator.tuning.same_error import SameErrorWatch


def failed(trial_id: str, signature: str | None) -> TrialEnded:
    return TrialEnded(trial_id, State.FAIL, error="ValueError: no heads", failure="own_code", signature=signature)


def test_the_third_trial_with_one_error_is_the_last() -> None:
    watch = SameErrorWatch()
    told = [watch.see(failed(trial_id, "a.py:3 > ValueError")) for trial_id in ("t1", "t2", "t2", "t3", "t4")]
    assert [text is None for text in told] == [True, True, True, False, True]
    assert told[3] is not None
    assert told[3].startswith("the same error ended 3 trials (t1, t2, t3): ValueError: no heads; the others wait.")
    assert "--keep-going" in told[3]


def test_different_errors_and_other_ends_do_not_add_up() -> None:
    watch = SameErrorWatch()
    ends = [failed(f"t{number}", f"a.py:{number}") for number in range(5)]
    ends += [failed(f"u{number}", None) for number in range(5)] + [TrialEnded("v", State.COMPLETE)]
    assert [watch.see(end) for end in ends] == [None] * len(ends)
