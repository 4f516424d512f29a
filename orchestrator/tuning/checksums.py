"""A finished trial's folder in, what its files say against its record out; writes nothing and trains nothing.

The record is sealed, so it is what the others are held against: the weights by their checksum, the predictions and the
metric rows by the numbers that were made of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ResultsError
from orchestrator.npz_files import read_npz
from orchestrator.places import is_local
from orchestrator.probe_catalog import PROBES
from orchestrator.record import State, TrialRecord
from orchestrator.results import TrialFolder
from orchestrator.trial import Trial

READ_AT_ONCE = 2**20


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What was found in the folder of one trial."""

    trial_id: str
    record: TrialRecord | None
    """None where it cannot be read, or where the trial has not finished."""
    has_weights: bool
    """Whether the final weights are there; `orch gc` may have freed them."""
    problems: tuple[str, ...] = ()
    """A sentence for each file that is not what the record says."""


def check_files(folder: TrialFolder) -> FileReport:
    """Hold every file of a trial against its record; an unfinished trial has nothing to hold.

    Raises:
        ResultsError: a file is there and the system refuses to read it.
    """
    trial_id = folder.path.name
    try:
        record = folder.read_record()
    except ResultsError as error:
        return FileReport(trial_id=trial_id, record=None, has_weights=False, problems=(str(error),))
    if record is None:
        return FileReport(trial_id=trial_id, record=None, has_weights=False)
    problems = [*_identity_problems(folder, record), *_metrics_problems(folder, record), *_probes_problems(folder)]
    weights = folder.final_weights_file
    has_weights = weights.exists()
    if record.state is State.COMPLETE:
        problems += _predictions_problems(folder, record)
        if has_weights and (found := sha256_of_file(weights)) != record.weights_sha256:
            problems.append(
                f"{weights} is not what was trained: sha256 {found}, the record says {record.weights_sha256}"
            )
    return FileReport(trial_id=trial_id, record=record, has_weights=has_weights, problems=tuple(problems))


def sha256_of_file(path: Path) -> str:
    """64 hex digits, of a file of any size; an object is fetched whole.

    Raises:
        ResultsError: it cannot be read.
        UnreachableError: the object store does not answer.
    """
    digest = hashlib.sha256()
    if not is_local(path):
        digest.update(path.read_bytes())
        return digest.hexdigest()
    try:
        with path.open("rb") as file:
            while block := file.read(READ_AT_ONCE):
                digest.update(block)
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()


def read_is_correct(folder: TrialFolder) -> NDArray[np.bool_] | None:
    """[images] whether the final model was right; None where the file is missing or damaged."""
    try:
        content = read_npz(folder.predictions_file.read_bytes())
        return np.unpackbits(content["is_correct"])[: int(content["num_images"])].astype(bool)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _identity_problems(folder: TrialFolder, record: TrialRecord) -> list[str]:
    """A record must be of the trial whose folder it lies in: its id is a hash of what it says was asked."""
    try:
        asked = Trial.from_canonical(record.trial).trial_id
    except (TypeError, ValueError, KeyError) as error:
        return [f"{folder.record_file} describes a trial that this version does not know: {error}"]
    if not folder.path.name == record.trial_id == asked:
        return [f"{folder.record_file} is of trial {asked}, not of {folder.path.name}"]
    if folder.read_trial() != record.trial:
        return [f"{folder.trial_file} does not say what the record says was asked"]
    return []


def _probes_problems(folder: TrialFolder) -> list[str]:
    """A zip archive keeps a checksum of each array; a trial that was not probed has no file."""
    try:
        names = read_npz(folder.probes_file.read_bytes()).keys()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [f"{folder.probes_file} is damaged: {error}"]
    missing = sorted(PROBES.keys() - names)
    return [f"{folder.probes_file} is damaged: it has no {missing[0]}"] if missing else []


def _metrics_problems(folder: TrialFolder, record: TrialRecord) -> list[str]:
    try:
        rows = folder.read_metrics()
    except ResultsError as error:
        return [str(error)]
    if [row.epoch for row in rows] != list(range(1, record.num_epochs + 1)):
        return [f"{folder.metrics_file} has not the {record.num_epochs} epochs of the record, a row each"]
    if record.state is State.COMPLETE and (rows[-1].val_loss, rows[-1].val_acc) != (record.val_loss, record.val_acc):
        return [f"the last row of {folder.metrics_file} is not what the record says of the final model"]
    return []


def _predictions_problems(folder: TrialFolder, record: TrialRecord) -> list[str]:
    bits = read_is_correct(folder)
    if bits is None:
        return [f"{folder.predictions_file} is missing or damaged"]
    if len(bits) != record.num_test_images or float(bits.mean()) != record.test_acc:
        return [f"{folder.predictions_file} is not what the record says: it has {int(bits.sum())} of {len(bits)} right"]
    return []
