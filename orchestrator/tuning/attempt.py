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

from orchestrator import cost, durable, provenance
from orchestrator.errors import ChangedCodeError, DivergedError, OrchestratorError, StoppedError
from orchestrator.models import count_on_meta
from orchestrator.record import Attempt, EpochMetrics, Provenance, State, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.training.checkpoint import Checkpoint, CheckpointStore
from orchestrator.training.device import device_name, peak_memory_mib, pick_device
from orchestrator.training.loop import Outcome, Settings, train
from orchestrator.training.probe_store import ProbeStore, npz_bytes, stack_moments
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings, TrialEnded, dataset_key

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
            record = _record(trial, attempt, settings, _stack_probes(folder), outcome=outcome)
            _commit(folder, store, record, outcome)
            end("COMPLETE")
        except DivergedError as error:
            record = _record(
                trial, attempt, settings, _stack_probes(folder), diverged=error, folder=folder, began=began
            )
            durable.write_sealed_json(folder.record_file, dataclasses.asdict(record))
            end("DIVERGED", str(error))
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
        device=device_name(pick_device(settings.gpus)),
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
    run = train(
        trial,
        settings=Settings(
            device=pick_device(settings.gpus),
            compile=settings.compile,
            num_loader_workers=max(0, int(settings.cpus) - 1),
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


def _record(
    trial: Trial,
    attempt: Attempt,
    settings: RunSettings,
    probe_times_s: tuple[float, float] | None,
    *,
    outcome: Outcome | None = None,
    diverged: DivergedError | None = None,
    folder: TrialFolder | None = None,
    began: float = 0.0,
) -> TrialRecord:
    num_params, flops = _counts(trial)
    if outcome is not None:
        num_epochs, val_loss, val_acc = outcome.num_epochs, outcome.val_loss, outcome.val_acc
        wall_time_s, train_time_s = outcome.progress.wall_time_s, outcome.progress.train_time_s
    else:
        assert folder is not None
        rows = folder.read_metrics()
        num_epochs, val_loss, val_acc = len(rows), None, None
        wall_time_s, train_time_s = time.monotonic() - began, sum(row.wall_time_s for row in rows)
    return TrialRecord(
        trial_id=trial.trial_id,
        state=State.DIVERGED if outcome is None else State.COMPLETE,
        trial=trial.canonical(),
        num_params=num_params,
        flops=flops,
        num_epochs=num_epochs,
        val_loss=val_loss,
        val_acc=val_acc,
        test_loss=outcome.test_loss if outcome else None,
        test_acc=outcome.test_acc if outcome else None,
        num_test_images=len(outcome.is_correct) if outcome else 0,
        weights_sha256=durable.sha256(outcome.weights) if outcome else None,
        diverged=str(diverged) if diverged else None,
        wall_time_s=wall_time_s,
        train_time_s=train_time_s,
        peak_memory_mib=peak_memory_mib("cpu" if attempt.device.startswith("cpu") else "cuda"),
        num_attempts=attempt.number,
        provenance=_provenance(trial, attempt, settings),
        probe_time_s=probe_times_s[0] if probe_times_s else None,
        skip_time_s=probe_times_s[1] if probe_times_s else None,
    )


def _provenance(trial: Trial, attempt: Attempt, settings: RunSettings) -> Provenance:
    return Provenance(
        git_commit=settings.git_commit,
        git_dirty=settings.git_dirty,
        code_fingerprint=attempt.code_fingerprint,
        versions=attempt.versions,
        device=attempt.device,
        host=attempt.host,
        command=settings.command,
        data_fingerprint=settings.data_fingerprints[dataset_key(trial)],
        executor=settings.executor,
        started_at=attempt.started_at,
        ended_at=provenance.utc_now(),
    )


def _counts(trial: Trial) -> tuple[int, int]:
    if cost.is_closed_form(trial):
        return cost.num_params(trial), cost.flops(trial)
    return count_on_meta(trial)


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
