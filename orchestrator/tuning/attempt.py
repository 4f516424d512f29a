"""One start of one trial: trial and folder in, epochs out as they finish, the trial's files written on the way.

Both executors run exactly this, so they differ only in where it happens. What went wrong in a trial is its outcome and
never an exception for the executor.
"""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from orchestrator import durable, provenance
from orchestrator.errors import ChangedCodeError, DivergedError, OrchestratorError, StoppedError
from orchestrator.record import Attempt, EpochMetrics, State, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.training.checkpoint import Checkpoint, CheckpointStore
from orchestrator.training.device import device_name, pick_device
from orchestrator.training.loop import Outcome, Settings, train
from orchestrator.training.probe_store import ProbeStore, npz_bytes, stack_moments
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings, TrialEnded
from orchestrator.tuning.pruning import PrunedError, check_goes_on
from orchestrator.tuning.trial_record import complete_record, ended_record

log = logging.getLogger("orchestrator")

SECONDS_BETWEEN_STOP_CHECKS = 0.2


def run_attempt(trial: Trial, settings: RunSettings) -> Generator[EpochMetrics, None, TrialEnded]:
    """Train `trial` in its folder, going on from its newest checkpoint; yields each epoch, returns how it ended.

    Another process that trains the same trial is waited for, and its record is taken.
    """
    folder = ResultsDir(settings.results_root).trial(trial.trial_id)
    with durable.hold(folder.lock_file, f"trial {trial.trial_id}", wait=True):
        record = _finished_record(folder)
        if record is not None:
            return TrialEnded(trial.trial_id, record.state, record)
        return (yield from _attempt(trial, folder, settings))


def _finished_record(folder: TrialFolder) -> TrialRecord | None:
    try:
        return folder.read_record()
    except OrchestratorError as error:
        log.warning("%s; the trial is trained again", error)
        return None


def _attempt(trial: Trial, folder: TrialFolder, settings: RunSettings) -> Generator[EpochMetrics, None, TrialEnded]:
    began = time.monotonic()
    number = folder.num_attempts() + 1
    with _logging_to(folder.log_file(number)):
        store = CheckpointStore(folder.checkpoints)
        start_from = store.load_newest()
        attempt = _begin(trial, folder, settings, number, start_from)

        def end(outcome: str, error: str | None = None, trace: str | None = None) -> None:
            log.info("%s %s", outcome, error or "")
            _end(folder, replace(attempt, outcome=outcome, error=error, traceback=trace), time.monotonic() - began)

        try:
            _check_code(start_from, folder, settings)
            outcome = yield from _train(trial, folder, settings, store, start_from)
            record = complete_record(trial, attempt, settings, outcome, _stack_probes(folder))
            _commit(folder, store, record, outcome)
            end("COMPLETE")
        except (DivergedError, PrunedError) as error:
            rows, spent_s = folder.read_metrics(), time.monotonic() - began
            record = ended_record(trial, attempt, settings, error, rows, spent_s, _stack_probes(folder))
            durable.write_sealed_json(folder.record_file, dataclasses.asdict(record))
            end(record.state, str(error))
            if record.state is State.PRUNED:
                durable.remove_folder(folder.checkpoints)
        except StoppedError as error:
            end("STOPPED", str(error))
            return TrialEnded(trial.trial_id, State.WAITING)
        except GeneratorExit:
            end("STOPPED", "stopped between two epochs")
            raise
        except Exception as error:  # whatever a model or a user's own code raises is this trial's outcome
            message = str(error) if isinstance(error, OrchestratorError) else f"{type(error).__name__}: {error}"
            end("FAIL", message, traceback.format_exc())
            return TrialEnded(trial.trial_id, State.FAIL, error=message)
    return TrialEnded(trial.trial_id, record.state, record)


def _begin(
    trial: Trial, folder: TrialFolder, settings: RunSettings, number: int, start_from: Checkpoint | None
) -> Attempt:
    """Write down that the attempt runs."""
    attempt = Attempt(
        number=number,
        host=provenance.host(),
        process=os.getpid(),
        device=device_name(pick_device(settings.resources_of(trial).gpus)),
        code_fingerprint=provenance.code_fingerprint(),
        versions=provenance.versions(),
        started_at=provenance.utc_now(),
        started_from=start_from.name if start_from else None,
    )
    durable.write_json(folder.trial_file, trial.canonical())
    durable.write_sealed_json(folder.attempt_file(number), dataclasses.asdict(attempt))
    log.info("trial %s (%s), attempt %d, on %s", trial.trial_id, trial.label, number, attempt.device)
    return attempt


def _end(folder: TrialFolder, attempt: Attempt, wall_time_s: float) -> None:
    """Write down how it ended."""
    ended = replace(attempt, ended_at=provenance.utc_now(), wall_time_s=wall_time_s)
    durable.write_sealed_json(folder.attempt_file(attempt.number), dataclasses.asdict(ended))


def _train(
    trial: Trial,
    folder: TrialFolder,
    settings: RunSettings,
    store: CheckpointStore,
    start_from: Checkpoint | None,
) -> Generator[EpochMetrics, None, Outcome]:
    """Train, mirroring each row into `metrics.jsonl`; rows come from the checkpoint where one is gone on from."""
    rows = start_from.progress.rows if start_from else ()
    durable.write_text(folder.metrics_file, "".join(_line(row) + "\n" for row in rows))
    rule = settings.prune.get(trial.trial_id, {})
    check_goes_on(rule, rows)
    resources = settings.resources_of(trial)
    run = train(
        trial,
        settings=Settings(
            device=pick_device(resources.gpus),
            compile=resources.compile,
            num_loader_workers=max(0, int(resources.cpus) - 1),
            code_fingerprint=provenance.code_fingerprint(),
            probe=settings.probe,
        ),
        checkpoints=store,
        probes=ProbeStore(folder.probes),
        start_from=start_from,
        should_stop=_stop_check(settings.stop_file),
    )
    while True:
        try:
            row = next(run)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome
        durable.append_line(folder.metrics_file, _line(row))
        log.info("epoch %d: %s", row.epoch, _line(row))
        yield row
        check_goes_on(rule, (row,))


def _commit(folder: TrialFolder, store: CheckpointStore, record: TrialRecord, outcome: Outcome) -> None:
    """Final weights and predictions first, `record.json` last: its presence says that the trial is finished."""
    store.commit_final(outcome.weights)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, is_correct=np.packbits(outcome.is_correct), num_images=len(outcome.is_correct))
    durable.write_bytes(folder.predictions_file, buffer.getvalue())
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(record))
    store.keep_only_final()
    ProbeStore(folder.probes).remove()


def _stack_probes(folder: TrialFolder) -> tuple[float, float] | None:
    """Write `probes.npz`; the seconds its probes and skipped blocks took, or None where nothing was probed."""
    moments = ProbeStore(folder.probes).moments()
    if not moments:
        return None
    stacked = stack_moments(moments)
    durable.write_bytes(folder.probes_file, npz_bytes(stacked))
    return float(stacked["probe_time_s"].sum()), float(stacked["skip_time_s"].sum())


def _check_code(start_from: Checkpoint | None, folder: TrialFolder, settings: RunSettings) -> None:
    """Refuse to go on inside a half-trained trial with other code.

    Raises:
        ChangedCodeError: naming what differs and what can be done.
    """
    current = provenance.code_fingerprint()
    if start_from is None or start_from.progress.code_fingerprint == current or settings.allow_code_change:
        return
    known = [a for a in folder.read_attempts() if a.code_fingerprint == start_from.progress.code_fingerprint]
    before = known[-1].versions if known else {}
    names = sorted(name for name in ("torch", "timm") if before.get(name) != provenance.versions().get(name))
    changes = [f"{name} {before.get(name, 'unknown')} -> {provenance.versions().get(name)}" for name in names]
    what = ", ".join(changes) or "the sources of models/ or training/ changed"
    raise ChangedCodeError(
        f"{folder.path.name} was half trained by other code ({what}); "
        "go on all the same with --allow-code-change, or start it over with --retrain-changed"
    )


def _line(row: EpochMetrics) -> str:
    return json.dumps(dataclasses.asdict(row), allow_nan=False)


def _stop_check(stop_file: Path) -> Callable[[], bool]:
    """Whether the stop file is there, looked up a few times a second at most."""
    last = [0.0, False]

    def should_stop() -> bool:
        now = time.monotonic()
        if not last[1] and now - last[0] > SECONDS_BETWEEN_STOP_CHECKS:
            last[:] = [now, stop_file.exists()]
        return bool(last[1])

    return should_stop


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()
