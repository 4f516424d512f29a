"""The death of a worker in, its cause written into the attempts it left without an outcome, out.

Written by the run that owns the sweep. An attempt that lives, has ended or is of another run is left as it is.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator import durable, provenance
from orchestrator.claims import newest, newest_number
from orchestrator.errors import OrchestratorError, ResultsError
from orchestrator.failure import FailureKind
from orchestrator.lease import create
from orchestrator.processes import is_running, this_machine
from orchestrator.record import LOST, Attempt, State
from orchestrator.redact import redact_text
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.tuning.events import RunSettings, TrialEnded, run_name
from orchestrator.tuning.failures import classify_worker_death
from orchestrator.tuning.lost_starts import has_stacks

SECONDS_TO_VANISH = 2.0
"""Ray hears of a death a moment before the system has taken the process away."""
SECONDS_BETWEEN_LOOKS = 0.05
NO_DEVICE = "none"
RAYS_GUESSES = " Some common causes include:"
"""What Ray adds to each death that it cannot explain."""

log = logging.getLogger("orchestrator")


@dataclass(frozen=True)
class Death:
    """Why a worker died."""

    kind: FailureKind
    error: str
    """One line for people, without secrets."""

    @classmethod
    def told(cls, told: str) -> Death:
        """The death that Ray tells of in `told`."""
        lines = [line.strip() for line in told.partition(RAYS_GUESSES)[0].splitlines() if not line.startswith("\t")]
        words = next((line for line in reversed(lines) if line), "Ray gives no cause")
        kind = classify_worker_death(told)
        if kind is FailureKind.HOST_OUT_OF_MEMORY:
            words = next(line for line in lines if classify_worker_death(line) is kind)
        return cls(kind, redact_text(f"its worker died: {words}"))


def end_lost(
    trial_id: str, settings: RunSettings, death: Death, is_told_dead: Callable[[int], bool] = lambda process: False
) -> None:
    """Write into the attempt that the dead worker left open how it ended; where that fails, only a log tells.

    Args:
        is_told_dead: whether Ray says that this process of another machine is dead.
    """
    folder = ResultsDir(settings.results_root).trial(trial_id)
    try:
        attempt = newest(folder.attempts, Attempt)
        if attempt is None or attempt.ended_at is not None or attempt.run != _run_of(settings):
            return
        if _has_vanished(attempt, is_told_dead):
            _end(folder, attempt, _hung(death) if has_stacks(folder, attempt.number) else death)
    except OrchestratorError as error:
        log.warning("why trial %s lost its worker is not written down: %s", trial_id, error)


def fail_lost(trial_id: str, settings: RunSettings, death: Death) -> TrialEnded:
    """End a trial that is started no more because its workers die: as FAIL, in its files too.

    It waits where another run trains it or the folder cannot be written, and has ended as its record says.
    """
    folder, record = ResultsDir(settings.results_root).trial(trial_id), None
    try:
        with suppress(ResultsError):  # one that is damaged is work to do again
            record = folder.read_record()
        if record is not None:
            return TrialEnded(trial_id, record.state, record)
        last = newest(folder.attempts, Attempt)
        if last is not None and last.ended_at is None and last.run != _run_of(settings):
            return TrialEnded(trial_id, State.WAITING)
        number = newest_number(folder.attempts) + 1
        lease = create(folder.attempts, number, f"trial {trial_id}", partial(_attempt_after, last, settings))
        if lease is None:
            return TrialEnded(trial_id, State.WAITING)
        lease.end("FAIL", error=death.error, failure=death.kind.value)
        _log(folder, number, f"FAIL {death.kind}: {death.error}")
    except OrchestratorError as error:
        return TrialEnded(trial_id, State.WAITING, not_ready=str(error))
    return TrialEnded(trial_id, State.FAIL, error=death.error, failure=death.kind.value)


def _has_vanished(attempt: Attempt, is_told_dead: Callable[[int], bool]) -> bool:
    if attempt.machine != this_machine():
        return is_told_dead(attempt.process)
    ends = time.monotonic() + SECONDS_TO_VANISH
    while is_running(attempt.process, attempt.process_started):
        if time.monotonic() > ends:
            return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return True


def _end(folder: TrialFolder, attempt: Attempt, death: Death) -> None:
    ended = dataclasses.replace(
        attempt, ended_at=provenance.utc_now(), outcome=LOST, error=death.error, failure=death.kind.value
    )
    durable.write_sealed_json(folder.attempt_file(attempt.number), dataclasses.asdict(ended))
    _log(folder, attempt.number, f"{LOST} {death.kind}: {death.error}")


def _hung(death: Death) -> Death:
    """Stacks lie beside an attempt only when it was ended because it made no step any more."""
    return dataclasses.replace(death, kind=FailureKind.HUNG)


def _attempt_after(last: Attempt | None, settings: RunSettings, **owner: Any) -> Attempt:
    """An attempt that only tells how the ones before it ended; it trained nothing, so it is like the last of them."""
    run = _run_of(settings)
    if last is None:
        code = provenance.code_fingerprint()
        return Attempt(**owner, device=NO_DEVICE, code_fingerprint=code, versions=provenance.versions(), run=run)
    fresh: dict[str, Any] = dict.fromkeys(("ended_at", "outcome", "error", "failure", "traceback", "wall_time_s"))
    return dataclasses.replace(last, **fresh, **owner, beat=0, run=run)


def _run_of(settings: RunSettings) -> str | None:
    return None if settings.run is None else run_name(*settings.run)


def _log(folder: TrialFolder, number: int, text: str) -> None:
    durable.append_line(folder.log_file(number), f"{provenance.utc_now()} ERROR {text}")
