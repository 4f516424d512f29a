"""The earlier starts of a trial in; whether it goes round in circles, dying again and again at one place, out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from orchestrator.errors import GivenUpError, ResultsError
from orchestrator.failure import MAX_LOST_STARTS, MAX_LOST_STARTS_OVER_RUNS, FailureKind
from orchestrator.record import LOST, Attempt
from orchestrator.results import TrialFolder

OF_ONE_KIND = {
    FailureKind.HUNG: "made no step any more",
    FailureKind.HOST_OUT_OF_MEMORY: "were ended because the machine's memory ran out",
}
"""What became of starts that were all lost to one of these; other losses make a crash loop."""


def is_lost(attempt: Attempt) -> bool:
    """Whether it ended, or was ended, without an outcome for its trial."""
    return attempt.outcome in (None, LOST)


def check_comes_further(attempts: Sequence[Attempt], run: str | None, start_from: str | None) -> None:
    """Refuse one more start from a checkpoint from which several have died.

    Only the newest starts in a row count that were lost and began at this very checkpoint, so what came further, was
    stopped or has FAILed ends the count.

    Args:
        attempts: the earlier starts, in order.
        run: the run that starts it now.
        start_from: the checkpoint it would go on from.

    Raises:
        GivenUpError: with what became of the others.
    """
    row = list(takewhile(lambda a: is_lost(a) and a.started_from == start_from, reversed(attempts)))
    in_run = [attempt for attempt in row if attempt.run == run]
    if len(in_run) < MAX_LOST_STARTS and len(row) < MAX_LOST_STARTS_OVER_RUNS:
        return
    counted = in_run if len(in_run) >= MAX_LOST_STARTS else row
    place = f"checkpoint {start_from}" if start_from else "the start"
    kinds = {attempt.failure for attempt in counted}
    kind = next((kind for kind in OF_ONE_KIND if kinds == {kind.value}), FailureKind.CRASH_LOOP)
    what = OF_ONE_KIND.get(kind, "died")
    hosts = ", ".join(sorted({attempt.host for attempt in counted}))
    numbers = ", ".join(str(attempt.number) for attempt in reversed(counted))
    raise GivenUpError(
        f"{len(counted)} starts in a row from {place} {what} without coming further (attempts {numbers}, on {hosts}); "
        "their logs and stacks lie in its folder attempts/, and --retry-failed starts it anew",
        kind,
    )


def has_stacks(folder: TrialFolder, number: int) -> bool:
    """Whether stacks lie beside an attempt, which was ended because it hung.

    Raises:
        ResultsError: they cannot be read.
    """
    path = folder.stack_file(number)
    try:
        return path.exists() and path.stat().st_size > 0
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}") from error
