"""A training in; when it is over, the trial's files committed with its record last, and the record out.

Each write asks first whether another attempt has taken the trial over.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator

import numpy as np

from orchestrator import durable
from orchestrator.errors import DivergedError
from orchestrator.lease import Lease
from orchestrator.npz_files import npz_bytes
from orchestrator.record import Attempt, EpochMetrics, State, TrialRecord
from orchestrator.results import TrialFolder
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.loop import Outcome
from orchestrator.training.probe_store import ProbeStore, stack_moments
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings
from orchestrator.tuning.pruning import PrunedError
from orchestrator.tuning.trial_record import complete_record, ended_record


def to_record(
    trial: Trial,
    folder: TrialFolder,
    settings: RunSettings,
    store: CheckpointStore,
    lease: Lease[Attempt],
    training: Generator[EpochMetrics | None, None, Outcome],
) -> Generator[EpochMetrics | None, None, tuple[TrialRecord, str | None]]:
    """Train to the end and commit the record; it, and why the trial ended early where it did.

    Raises:
        SupersededError: another attempt has taken the trial over.
        ResultsError: the folder cannot be written.
    """
    began = time.monotonic()
    try:
        outcome = yield from training
    except (DivergedError, PrunedError) as error:
        rows, spent_s = folder.read_metrics(), time.monotonic() - began
        record = ended_record(trial, lease.claim, settings, error, rows, spent_s, _stack_probes(folder, lease))
        lease.check()
        durable.write_sealed_json(folder.record_file, dataclasses.asdict(record))
        if record.state is State.PRUNED:
            lease.check()
            durable.remove_folder(folder.checkpoints)
        return record, str(error)
    record = complete_record(trial, lease.claim, settings, outcome, _stack_probes(folder, lease))
    _commit(folder, store, record, outcome, lease)
    return record, None


def _commit(
    folder: TrialFolder, store: CheckpointStore, record: TrialRecord, outcome: Outcome, lease: Lease[Attempt]
) -> None:
    """Final weights and predictions first, `record.json` last: its presence says that the trial is finished."""
    store.commit_final(outcome.weights)
    is_correct = outcome.is_correct
    lease.check()
    packed = npz_bytes({"is_correct": np.packbits(is_correct), "num_images": len(is_correct)})
    durable.write_bytes(folder.predictions_file, packed)
    lease.check()
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(record))
    store.keep_only_final()
    ProbeStore(folder.probes).remove()


def _stack_probes(folder: TrialFolder, lease: Lease[Attempt]) -> tuple[float, float] | None:
    """Write `probes.npz`; the seconds its probes and skipped blocks took, or None where nothing was probed."""
    moments = ProbeStore(folder.probes).moments()
    if not moments:
        return None
    stacked = stack_moments(moments)
    lease.check()
    durable.write_bytes(folder.probes_file, npz_bytes(stacked))
    return float(stacked["probe_time_s"].sum()), float(stacked["skip_time_s"].sum())
