"""What half trained a trial and what would go on with it in; what differs between the two, in words, out.

A code fingerprint says that sources differ and not which, so for each one a hash a file is kept beside the trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import durable, provenance
from orchestrator.errors import ChangedCodeError, ResultsError
from orchestrator.failure import FailureKind
from orchestrator.record import Attempt
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings, dataset_key

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "scikit-learn")
"""Those whose version may move numbers; that of CUDA stands in torch's."""

MAX_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What computes a trial."""

    code_fingerprint: str
    versions: Mapping[str, str]
    data_fingerprint: str | None
    """None where an old attempt does not say."""

    @classmethod
    def of(cls, attempt: Attempt) -> Origin:
        return cls(
            code_fingerprint=attempt.code_fingerprint,
            versions=attempt.versions,
            data_fingerprint=attempt.data_fingerprint,
        )

    @classmethod
    def here(cls, data_fingerprint: str | None) -> Origin:
        """This process, on a dataset of this content."""
        return cls(
            code_fingerprint=provenance.code_fingerprint(),
            versions=provenance.versions(),
            data_fingerprint=data_fingerprint,
        )


def remember_code(results: ResultsDir) -> None:
    """Keep a hash of each source file of the present code, once for all trials.

    Raises:
        ResultsError: the root cannot be written.
    """
    place = results.code_file(provenance.code_fingerprint())
    if not place.exists():
        durable.write_sealed_json(place, {"files": dict(provenance.source_hashes())})


def find_changes(results: ResultsDir, before: Origin, after: Origin) -> list[str]:
    """What differs, a few words each; empty where nothing does."""
    named = [
        f"{name} {before.versions.get(name, 'none')}, now {after.versions.get(name, 'none')}"
        for name in LIBRARIES
        if before.versions.get(name) != after.versions.get(name)
    ]
    if before.code_fingerprint != after.code_fingerprint:
        files = _changed_files(results, before.code_fingerprint, after.code_fingerprint)
        named += files if files or named else ["the sources of models/ or training/"]
    data = (before.data_fingerprint, after.data_fingerprint)
    if None not in data and data[0] != data[1]:
        named.append(f"the dataset's content ({data[0]}, now {data[1]})")
    return named


def last_that_trained(attempts: Sequence[Attempt]) -> Attempt | None:
    """The newest attempt that was not refused, None where there is none."""
    return next((a for a in reversed(attempts) if a.failure != FailureKind.CHANGED_CODE), None)


def trained_by(folder: TrialFolder) -> Origin | None:
    """What trained the trial so far, None for one without a checkpoint to go on from."""
    if not any(folder.checkpoints.glob("*-*/MANIFEST.json")):
        return None
    before = last_that_trained(folder.read_attempts())
    return None if before is None else Origin.of(before)


def find_changed(results: ResultsDir, trials: Sequence[Trial], settings: RunSettings) -> dict[str, list[str]]:
    """What changed since those of `trials` were half trained that something else than this process trained."""
    found = {}
    for trial in trials:
        before = trained_by(results.trial(trial.trial_id))
        if before is not None:
            here = Origin.here(settings.data_fingerprints[dataset_key(trial)])
            found[trial.trial_id] = find_changes(results, before, here)
    return {trial_id: changes for trial_id, changes in found.items() if changes}


def refusal(changes: Mapping[str, Sequence[str]]) -> ChangedCodeError:
    """The refusal to go on with trials that other code, libraries or data half trained.

    Args:
        changes: what changed, by trial_id.
    """
    several = dict.fromkeys("; ".join(found) for found in changes.values())
    told = " / ".join(list(several)[:MAX_NAMED])
    more = len(changes) - MAX_NAMED
    names = ", ".join(list(changes)[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
    what = "trial was" if len(changes) == 1 else "trials were"
    return ChangedCodeError(
        f"{len(changes)} {what} half trained by something else ({names}). Changed: {told}. "
        "Undo it, go on all the same with --allow-code-change (marked in the record and in the report), "
        "or start over with --retrain-changed"
    )


def _changed_files(results: ResultsDir, before: str, after: str) -> list[str]:
    old, new = _files(results, before), _files(results, after)
    if old is None or new is None:
        return []
    kinds = {
        "changed": [name for name in sorted(old.keys() & new.keys()) if old[name] != new[name]],
        "new": sorted(new.keys() - old.keys()),
        "gone": sorted(old.keys() - new.keys()),
    }
    found = [f"{name} ({kind})" for kind, names in kinds.items() for name in names]
    return found[:MAX_NAMED] + [f"and {len(found) - MAX_NAMED} more files"] * (len(found) > MAX_NAMED)


def _files(results: ResultsDir, fingerprint: str) -> Mapping[str, Any] | None:
    if fingerprint == provenance.code_fingerprint():
        return provenance.source_hashes()
    try:
        files = durable.read_sealed_json(results.code_file(fingerprint)).get("files")
    except (ResultsError, OSError):
        return None
    return files if isinstance(files, dict) else None
