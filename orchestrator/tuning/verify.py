"""Finished trials in, each trained again from nothing in a folder of its own, what differs from its record out.

The originals are only read. Equal trials give equal bits on a CPU with the same code and libraries, so there one bit is
a difference. On other hardware or other code rounding differs and a training amplifies it, so accuracies are held to a
tolerance that the caller states, and everything that is counted must still be equal.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from orchestrator import provenance
from orchestrator.errors import NotReadyError, ResultsError, StoppedError
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import State, SweepIndex, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.trial import PROTOCOL, Trial
from orchestrator.tuning.checksums import read_is_correct
from orchestrator.tuning.runner import Listener, Runner, RunOptions
from orchestrator.tuning.schedule import longest_first
from orchestrator.tuning.survey import Standing
from orchestrator.user_attention import attention_source_hash

COMPUTING_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "pyarrow")
COUNTED = ("trial_id", "state", "trial", "num_params", "flops", "num_epochs", "num_test_images")
MEASURED = ("val_loss", "val_acc", "test_loss", "test_acc")
HELD_TO_TOLERANCE = ("val_acc", "test_acc")


class Verdict(StrEnum):
    """What training a trial again came to."""

    BIT_EQUAL = "bit-equal"
    WITHIN_TOLERANCE = "within tolerance"
    """Other hardware, code or libraries than the record's; accuracies agree as far as was asked for."""
    DIFFERENT = "different"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One trial against its repetition."""

    trial_id: str
    label: str
    verdict: Verdict
    differences: tuple[str, ...]
    """What is not equal, in words; empty for a bit-equal trial."""
    because: tuple[str, ...]
    """Why bits may differ; empty where they may not."""


def pick_trials(records: Sequence[TrialRecord], num: int, seed: int, sweep: str) -> list[TrialRecord]:
    """`num` of the records, or all where there are fewer; the same ones for the same sweep and seed."""
    ordered = sorted(records, key=lambda record: record.trial_id)
    return random.Random(f"{sweep}:{seed}").sample(ordered, min(num, len(ordered)))


def train_again(
    records: Sequence[TrialRecord],
    spec: SweepSpec,
    index: SweepIndex,
    scratch: ResultsDir,
    options: RunOptions,
    listeners: Sequence[Listener],
) -> None:
    """Train the trials of `records` under the root `scratch`, which must be empty.

    Args:
        index: of the sweep, for the listeners.

    Raises:
        DataError: the dataset is not the one that a record was made of; nothing was trained.
        NotReadyError: the trials cannot be what they were, or the machine or the cluster is not ready.
        StoppedError: a signal came.
    """
    standings = [_standing(record, spec) for record in records]
    picked = {record.trial_id for record in records}
    members = tuple(member for member in index.members if member.trial_id in picked)
    index = replace(index, members=members, search=(), num_pending=0, num_search_pending=0)
    with ExitStack() as stack:
        runner = Runner(spec, scratch, options, listeners, stack)
        to_run = longest_first([standing.trial for standing in standings])
        runner.tell(index, standings, to_run)
        runner.train(standings, to_run, is_probed=False)
        if runner.stop.signal_number is not None:
            raise StoppedError("stopped; nothing of the sweep was touched", runner.stop.signal_number)


def compare_trials(
    records: Sequence[TrialRecord], results: ResultsDir, scratch: ResultsDir, tolerance: float
) -> list[Comparison]:
    """Each record against what `train_again` left under `scratch`.

    Args:
        tolerance: difference in accuracy, 0..1, that is allowed where bits may differ.
    """
    return [
        compare_trial(record, results.trial(record.trial_id), scratch.trial(record.trial_id), tolerance)
        for record in records
    ]


def compare_trial(before: TrialRecord, folder: TrialFolder, again: TrialFolder, tolerance: float) -> Comparison:
    """One record, its folder, and the folder of its repetition."""
    trial = Trial.from_canonical(before.trial)
    now = again.read_record()
    if now is None:
        error = next((attempt.error for attempt in reversed(again.read_attempts()) if attempt.error), "it did not end")
        why = f"it could not be trained again: {error}"
        return _comparison(trial, Verdict.DIFFERENT, (why,), ())
    because = rounding_causes(before, now)
    gross = _differences(before, now, COUNTED)
    fine = [*_differences(before, now, MEASURED), *_difference_of_rows(folder, again)]
    fine += _difference_of_predictions(folder, again)
    if before.weights_sha256 != now.weights_sha256:
        fine.append(f"weights: sha256 {before.weights_sha256}, now {now.weights_sha256}")
    if not gross and not fine:
        return _comparison(trial, Verdict.BIT_EQUAL, (), because)
    is_near = because and not gross and all(_is_near(before, now, name, tolerance) for name in HELD_TO_TOLERANCE)
    verdict = Verdict.WITHIN_TOLERANCE if is_near else Verdict.DIFFERENT
    return _comparison(trial, verdict, (*gross, *fine), because)


def rounding_causes(before: TrialRecord, now: TrialRecord) -> tuple[str, ...]:
    """What may have changed the last bits of every sum between two records; empty where nothing may."""
    then, here = before.provenance, now.provenance
    causes = []
    if then.devices != here.devices:
        causes.append(f"device {then.devices} -> {here.devices}")
    elif not then.device.startswith("cpu"):
        causes.append(f"{then.device}: a GPU does not add in a fixed order")
    versions = [
        f"{name} {then.versions.get(name, 'unknown')} -> {here.versions.get(name, 'none')}"
        for name in COMPUTING_PACKAGES
        if then.versions.get(name) != here.versions.get(name)
    ]
    if versions:
        causes += versions
    if then.code_fingerprint != here.code_fingerprint and not versions:
        causes.append("the sources of models/ or training/ changed")
    if max(before.num_packed, now.num_packed) > 1:
        causes.append(f"seeds trained in one pass: {before.num_packed} -> {now.num_packed}")
    causes += [f"it was first trained otherwise than asked: {text}" for text in before.deviations]
    causes += [f"it is trained otherwise than asked: {text}" for text in now.deviations]
    return tuple(causes)


def other_code(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Those that another code fingerprint than the present one made."""
    return [record for record in records if record.provenance.code_fingerprint != provenance.code_fingerprint()]


def _standing(record: TrialRecord, spec: SweepSpec) -> Standing:
    """The trial of a record, ready to be trained; its record says which data it saw."""
    trial = Trial.from_canonical(record.trial, root=spec.data.get("root"))
    if trial.protocol != PROTOCOL:
        commit = f" (commit {record.provenance.git_commit})" if record.provenance.git_commit else ""
        raise NotReadyError(
            f"trial {trial.trial_id} was trained under protocol {trial.protocol} and this version trains protocol "
            f"{PROTOCOL}: its numbers are others by intent. Verify it with the version that made it{commit}"
        )
    asked = trial.model.attention_source
    if asked is not None and attention_source_hash(trial.model.attention) != asked:
        raise NotReadyError(
            f"trial {trial.trial_id} was trained with another source of {trial.model.attention}; put the old file back"
        )
    return Standing(trial, State.WAITING, record)


def _differences(before: TrialRecord, now: TrialRecord, names: Sequence[str]) -> list[str]:
    return [
        f"{name}: {_shown(getattr(before, name))}, now {_shown(getattr(now, name))}"
        for name in names
        if getattr(before, name) != getattr(now, name)
    ]


def _difference_of_rows(folder: TrialFolder, again: TrialFolder) -> list[str]:
    """The first epoch that differs, and how many do."""
    try:
        before, now = folder.read_metrics(), again.read_metrics()
    except ResultsError as error:
        return [f"metrics: {error}"]
    differing = [(old, new) for old, new in zip(before, now, strict=False) if old.numbers() != new.numbers()]
    if len(before) != len(now):
        return [f"metrics: {len(before)} epochs, now {len(now)}"]
    if not differing:
        return []
    old, new = (row.numbers() for row in differing[0])
    names = [name for name in old if old[name] != new[name]]
    first = ", ".join(f"{name} {old[name]}, now {new[name]}" for name in names)
    return [f"metrics: {len(differing)} of {len(before)} epochs differ, the first is epoch {old['epoch']}: {first}"]


def _difference_of_predictions(folder: TrialFolder, again: TrialFolder) -> list[str]:
    before, now = read_is_correct(folder), read_is_correct(again)
    if before is None or now is None:
        return [f"predictions: those of {(folder if before is None else again).path} cannot be read"]
    if before.shape != now.shape:
        return [f"predictions: {len(before)} test images, now {len(now)}"]
    num = int(np.count_nonzero(before != now))
    return [f"predictions: {num} of {len(before)} test images are judged otherwise"] if num else []


def _is_near(before: TrialRecord, now: TrialRecord, name: str, tolerance: float) -> bool:
    old, new = getattr(before, name), getattr(now, name)
    return bool(old == new or (old is not None and new is not None and abs(old - new) <= tolerance))


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def _comparison(trial: Trial, verdict: Verdict, differences: Sequence[str], because: Sequence[str]) -> Comparison:
    return Comparison(
        trial_id=trial.trial_id,
        label=trial.label,
        verdict=verdict,
        differences=tuple(differences),
        because=tuple(because),
    )
