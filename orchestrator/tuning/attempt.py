"""One start of one trial: trial and folder in, epochs out as they finish, the trial's files written on the way.

Both executors run exactly this, so they differ only in where it happens. What went wrong in a trial is its outcome and
never an exception for the executor.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

from orchestrator import durable, provenance
from orchestrator.errors import (
    ClusterError,
    DeviceLostError,
    OrchestratorError,
    ResultsError,
    StoppedError,
    SupersededError,
    UnreachableError,
)
from orchestrator.failure import FailureKind
from orchestrator.lease import Lease, RunWatch, create, wait_until_free
from orchestrator.record import LOST, Attempt, EpochMetrics, State, TrialRecord
from orchestrator.redact import redact_text
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.device import device_name, pick_device, release_memory
from orchestrator.training.loop import Outcome, train
from orchestrator.training.pack import Pack, UnpackedError
from orchestrator.training.probe_store import ProbeStore
from orchestrator.trial import Trial
from orchestrator.tuning.attempt_end import to_record
from orchestrator.tuning.attempt_log import logging_to
from orchestrator.tuning.attempt_start import Start, begin, mark_halved, training_settings
from orchestrator.tuning.events import RunSettings, TrialEnded, run_name
from orchestrator.tuning.failures import describe_failure, told_traceback
from orchestrator.tuning.fitting import train_that_fits
from orchestrator.tuning.heartbeat import Heartbeat, watched_attempt
from orchestrator.tuning.pruning import PruneRule, check_goes_on
from orchestrator.tuning.stop_file import stop_check
from orchestrator.tuning.tidying import tidy_finished

log = logging.getLogger("orchestrator")


def run_attempt(
    trial: Trial, settings: RunSettings, pack: Pack | None = None
) -> Generator[EpochMetrics | None, None, TrialEnded]:
    """Train `trial` in its folder, going on from its newest checkpoint; yields each epoch, returns how it ended.

    As a member of a `pack` it yields None while others of it are not as far.

    Another live run that trains the same trial is waited for, and its record is taken. An earlier attempt of this
    sweep is not: the sweep has given up on it, and it writes no more once it meets the new one's number.

    Raises:
        NotReadyError: nothing can be trained here, such as on a full disk; the trial waits.
    """
    folder = ResultsDir(settings.results_root).trial(trial.trial_id)
    should_stop = stop_check(settings.stop_file, _run_watch(settings))
    try:
        claimed = _claim(trial, folder, settings, should_stop)
    except StoppedError:
        return TrialEnded(trial.trial_id, State.WAITING)
    if isinstance(claimed, TrialRecord):
        tidy_finished(folder)
        return TrialEnded(trial.trial_id, claimed.state, claimed)
    try:
        with logging_to(folder.log_file(claimed.claim.number)):
            return (yield from _attempt(trial, folder, settings, claimed, should_stop, pack))
    finally:
        claimed.abandon()


def _claim(
    trial: Trial, folder: TrialFolder, settings: RunSettings, should_stop: Callable[[], bool]
) -> TrialRecord | Lease[Attempt]:
    """The right to train the trial, or the record of whoever had it before.

    Raises:
        StoppedError: a stop was asked for while another run trained it.
    """

    def on_wait(owner: str) -> None:
        if should_stop():
            raise StoppedError("stopped while another run trained the trial")

    def make(**owner: Any) -> Attempt:
        return Attempt(
            **owner,
            device=device_name(pick_device(settings.resources_of(trial).gpus)),
            code_fingerprint=provenance.code_fingerprint(),
            versions=provenance.versions(),
            num_workers=settings.resources_of(trial).workers,
            run=None if settings.run is None else run_name(*settings.run),
        )

    what = f"trial {trial.trial_id}"
    while True:
        number = wait_until_free(
            folder.attempts, Attempt, what, wait=True, may_take=partial(_is_given_up, settings), on_wait=on_wait
        )
        record = _finished_record(folder)  # looked for once nobody else can write one any more
        lease = None if record is not None else create(folder.attempts, number + 1, what, make)
        if record is not None or lease is not None:
            return record or lease  # type: ignore[return-value]


def _is_given_up(settings: RunSettings, attempt: Attempt) -> bool:
    """Whether the attempt was started by this run or by an earlier one of the same sweep."""
    sweep, _, number = (attempt.run or "").rpartition(" ")
    return settings.run is not None and sweep == settings.run[0] and int(number) <= settings.run[1]


def _run_watch(settings: RunSettings) -> RunWatch | None:
    if settings.run is None:
        return None
    sweep, number = settings.run
    return RunWatch(ResultsDir(settings.results_root).sweep(sweep).runs, number)


def _finished_record(folder: TrialFolder) -> TrialRecord | None:
    try:
        return folder.read_record()
    except ResultsError as error:
        log.warning("%s; the trial is trained again", error)
        return None


def _attempt(
    trial: Trial,
    folder: TrialFolder,
    settings: RunSettings,
    lease: Lease[Attempt],
    should_stop: Callable[[], bool],
    pack: Pack | None,
) -> Generator[EpochMetrics | None, None, TrialEnded]:
    began = time.monotonic()

    def end(outcome: str, error: str | None = None, **more: str | None) -> None:
        log.info("%s %s", outcome, error or "")
        with suppress(SupersededError):
            lease.end(outcome, error=error, wall_time_s=time.monotonic() - began, **more)

    try:
        store = CheckpointStore(folder.checkpoints, lease.check)
        hang_minutes = settings.resources_of(trial).hang_minutes
        start = begin(trial, settings, lease, store)
        with watched_attempt(folder, lease.claim.number, hang_minutes, end) as heart:
            training = _train(trial, folder, settings, store, start, should_stop, lease, heart, pack)
            record, told = yield from to_record(trial, folder, settings, store, lease, training)
        end(record.state, told)
    except StoppedError as error:
        end("STOPPED", str(error))
        return TrialEnded(trial.trial_id, State.WAITING)
    except SupersededError as error:
        log.warning("%s", error)
        return TrialEnded(trial.trial_id, State.WAITING)
    except GeneratorExit:
        end("STOPPED", "stopped between two epochs")
        raise
    except (ResultsError, UnreachableError, ClusterError) as error:
        with suppress(OrchestratorError):
            end("STOPPED", redact_text(str(error)))
        raise
    except Exception as error:  # whatever a model or a user's own code raises is this trial's outcome
        failed = describe_failure(trial.trial_id, error)
        is_lost = failed.failure == FailureKind.DEVICE_LOST
        end(LOST if is_lost else "FAIL", failed.error, failure=failed.failure, traceback=told_traceback(error))
        if is_lost:
            raise DeviceLostError(
                f"trial {trial.trial_id} lost its device: {failed.error}; a new start goes on"
            ) from error
        return failed
    return TrialEnded(trial.trial_id, record.state, record)


def _train(
    trial: Trial,
    folder: TrialFolder,
    settings: RunSettings,
    store: CheckpointStore,
    start: Start,
    should_stop: Callable[[], bool],
    lease: Lease[Attempt],
    heart: Heartbeat,
    pack: Pack | None,
) -> Generator[EpochMetrics | None, None, Outcome]:
    """Train, alone where a pack fails and with a smaller micro-batch where memory runs out and that is allowed.

    A new try takes the newest state.
    """
    loop_settings = training_settings(trial, settings)
    loaded = iter((start.checkpoint,))

    def go_on(asked: Trial) -> Generator[EpochMetrics | None, None, Outcome]:
        checkpoint = next(loaded, None) or store.load_newest()
        rows = checkpoint.progress.rows if checkpoint else ()
        rule = settings.prune.get(trial.trial_id, {})
        lease.check()
        durable.write_text(folder.metrics_file, "".join(_line(row) + "\n" for row in rows))
        check_goes_on(rule, rows)
        run = (pack.train if pack is not None and pack.trains(trial, asked) else train)(
            asked,
            settings=loop_settings,
            checkpoints=store,
            probes=ProbeStore(folder.probes, lease.check),
            start_from=checkpoint,
            should_stop=should_stop,
        )
        try:
            return (yield from _write_epochs(run, folder, lease, rule, heart))
        except UnpackedError as error:
            log.warning("%s; the trial goes on alone", error)
        release_memory()
        return (yield from go_on(asked))

    return (
        yield from train_that_fits(
            trial,
            go_on,
            settings=loop_settings,
            policy=settings.resources_of(trial).oom,
            size=start.micro_batch_size,
            on_halved=lambda size: mark_halved(trial, lease, size),
        )
    )


def _write_epochs(
    run: Generator[EpochMetrics | None, None, Outcome],
    folder: TrialFolder,
    lease: Lease[Attempt],
    rule: PruneRule,
    heart: Heartbeat,
) -> Generator[EpochMetrics | None, None, Outcome]:
    """Mirror each row into `metrics.jsonl`, hand it on, and ask whether the trial goes on."""
    while True:
        try:
            row = next(run)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome
        if row is not None:
            lease.check()
            durable.append_line(folder.metrics_file, _line(row))
            log.info("epoch %d: %s", row.epoch, _line(row))
        heart.pause()
        yield row
        check_goes_on(rule, (row,) if row is not None else ())


def _line(row: EpochMetrics) -> str:
    return durable.seal_line(dataclasses.asdict(row))
