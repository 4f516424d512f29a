"""A trial, its attempt and how the training ended in; the record that says so out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator import cost, durable, provenance
from orchestrator.errors import DivergedError
from orchestrator.models import count_on_meta
from orchestrator.record import Attempt, EpochMetrics, Provenance, State, TrialRecord
from orchestrator.training.device import peak_memory_mib
from orchestrator.training.loop import Outcome
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings, dataset_key
from orchestrator.tuning.pruning import PrunedError

ProbeTimes = tuple[float, float] | None
"""Seconds in probes, and in skipping blocks; None for a trial that was not probed."""


def complete_record(
    trial: Trial, attempt: Attempt, settings: RunSettings, outcome: Outcome, probe_times_s: ProbeTimes
) -> TrialRecord:
    """The record of a trial that was trained to its end."""
    return TrialRecord(
        state=State.COMPLETE,
        num_epochs=outcome.num_epochs,
        val_loss=outcome.val_loss,
        val_acc=outcome.val_acc,
        test_loss=outcome.test_loss,
        test_acc=outcome.test_acc,
        num_test_images=len(outcome.is_correct),
        weights_sha256=durable.sha256(outcome.weights),
        diverged=None,
        wall_time_s=outcome.progress.wall_time_s,
        train_time_s=outcome.progress.train_time_s,
        **_shared(trial, attempt, settings, outcome.progress.rows, probe_times_s),
    )


def ended_record(
    trial: Trial,
    attempt: Attempt,
    settings: RunSettings,
    ended_by: DivergedError | PrunedError,
    rows: Sequence[EpochMetrics],
    wall_time_s: float,
    probe_times_s: ProbeTimes,
) -> TrialRecord:
    """The record of a trial that diverged or was pruned: it has epochs and no final model."""
    is_diverged = isinstance(ended_by, DivergedError)
    return TrialRecord(
        state=State.DIVERGED if is_diverged else State.PRUNED,
        num_epochs=len(rows),
        val_loss=None,
        val_acc=None,
        test_loss=None,
        test_acc=None,
        num_test_images=0,
        weights_sha256=None,
        diverged=str(ended_by) if is_diverged else None,
        wall_time_s=wall_time_s,
        train_time_s=sum(row.wall_time_s for row in rows),
        **_shared(trial, attempt, settings, rows, probe_times_s),
    )


def _shared(
    trial: Trial, attempt: Attempt, settings: RunSettings, rows: Sequence[EpochMetrics], probe_times_s: ProbeTimes
) -> dict[str, Any]:
    num_params, flops = _counts(trial)
    expected = settings.expected.get(trial.trial_id)
    return {
        "trial_id": trial.trial_id,
        "trial": trial.canonical(),
        "num_params": num_params,
        "flops": flops,
        "peak_memory_mib": peak_memory_mib("cpu" if attempt.device.startswith("cpu") else "cuda"),
        "num_attempts": attempt.number,
        "micro_batch_size": attempt.micro_batch_size,
        "deviations": attempt.deviations,
        "provenance": _provenance(trial, attempt, settings),
        "num_packed": max((row.num_packed for row in rows), default=1),
        "predicted_time_s": None if expected is None else expected.seconds,
        "is_predicted_roughly": expected is not None and expected.is_rough,
        "predicted_memory_mib": _predicted_memory(trial, attempt),
        "probe_time_s": probe_times_s[0] if probe_times_s else None,
        "skip_time_s": probe_times_s[1] if probe_times_s else None,
    }


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
        num_workers=attempt.num_workers,
    )


def _predicted_memory(trial: Trial, attempt: Attempt) -> float | None:
    is_known = cost.is_closed_form(trial) and not attempt.device.startswith("cpu")
    return cost.memory_mib(trial, on_gpu=True) if is_known else None


def _counts(trial: Trial) -> tuple[int, int]:
    if cost.is_closed_form(trial):
        return cost.num_params(trial), cost.flops(trial)
    return count_on_meta(trial)
