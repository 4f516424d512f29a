"""Trials that were measured in, the expected times of others on the same kind of device out.

What was trained in a pack tells nothing: its times are those of all seeds of the pack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from orchestrator import provenance
from orchestrator.errors import ResultsError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import State, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.trial import Trial
from orchestrator.tuning.calibration import known_calibrations
from orchestrator.tuning.events import RunSettings
from orchestrator.tuning.timing import EpochTimes, family_of

Measured = tuple[str, str, Mapping[str, Any], float]
"""When, on which device, what, and the seconds an epoch."""


class TimesByDevice:
    """Epoch times by kind and number of devices; the files are read when a cell first needs one, and once."""

    def __init__(self, results: ResultsDir, records: Mapping[str, TrialRecord]) -> None:
        self.results, self.records = results, records
        self.known: dict[tuple[bool, int], tuple[str | None, EpochTimes]] = {}

    def of(self, resources: Resources) -> EpochTimes:
        uses_gpu, num_workers = kind = (resources.gpus > 0, resources.workers)
        if kind not in self.known:
            self.known[kind] = _times_of(self.measured, uses_gpu=uses_gpu, num_workers=num_workers)
        return self.known[kind][1]

    @cached_property
    def measured(self) -> list[Measured]:
        """Of every trial under the root; records that are known are not read again."""
        folders = self.results.trials()
        found = (_measured_epoch(folder, self.records.get(folder.path.name)) for folder in folders)
        return with_calibrations([row for row in found if row is not None])

    def describe(self) -> str:
        """The devices that were measured."""
        devices = [device for device, _ in self.known.values() if device is not None]
        return " and ".join(devices) or "nothing was trained on this kind of device yet"


def with_calibrations(measured: list[Measured]) -> list[Measured]:
    """And what was calibrated, for families of which nothing was trained on the device."""
    known = {(device, family_of(canonical)) for _, device, canonical, _ in measured}
    calibrated = known_calibrations()
    return measured + [
        (one.measured_at, one.device, one.canonical, one.epoch_s)
        for one in calibrated
        if (one.device, family_of(one.canonical)) not in known
    ]


def _times_of(measured: Sequence[Measured], *, uses_gpu: bool, num_workers: int) -> tuple[str | None, EpochTimes]:
    """The device's name and its epoch times. Which GPU a run gets is not known, so the one that trained last counts."""
    several = f"{num_workers} x " if num_workers > 1 else ""
    own_cpus = f"{several}cpu: {provenance.cpu_name()}"
    fits = [row for row in measured if _is_like(row[1], own_cpus, several, uses_gpu=uses_gpu)]
    if not fits:
        return None, EpochTimes()
    device = max(fits, key=lambda row: row[0])[1]
    times = EpochTimes()
    for _, name, canonical, seconds in fits:
        if name == device:
            times.add(canonical, seconds)
    return device, times


def _is_like(devices: str, own_cpus: str, several: str, *, uses_gpu: bool) -> bool:
    """Whether these are the devices of a run: so many of this machine's processor, or of any GPU."""
    if not uses_gpu:
        return devices == own_cpus
    is_of_several = re.match(r"\d+ x ", devices)
    return "cpu: " not in devices and (is_of_several[0] if is_of_several else "") == several


def _measured_epoch(folder: TrialFolder, record: TrialRecord | None) -> Measured | None:
    """Of a finished trial, or of one that has begun."""
    try:
        record = record or folder.read_record()
        rows = folder.read_metrics() if record is None else []
    except ResultsError:
        return None
    if record is not None:
        return _measured_record(record)
    if not rows:
        return None
    attempts, asked = folder.read_attempts(), folder.read_trial()
    if not attempts or asked is None or max(row.num_packed for row in rows) > 1:
        return None
    return attempts[-1].started_at, attempts[-1].devices, asked, sum(row.wall_time_s for row in rows) / len(rows)


def forecast(to_run: Sequence[Trial], records: Sequence[TrialRecord], settings: RunSettings) -> dict[str, float]:
    """Expected seconds in epochs of those trials for which something comparable was trained or timed, by trial_id."""
    rows = with_calibrations([row for row in map(_measured_record, records) if row is not None])
    kinds: dict[tuple[bool, int], EpochTimes] = {}
    found = {}
    for trial in to_run:
        resources = settings.resources_of(trial)
        uses_gpu, num_workers = kind = (resources.gpus > 0, resources.workers)
        if kind not in kinds:
            kinds[kind] = _times_of(rows, uses_gpu=uses_gpu, num_workers=num_workers)[1]
        seconds = kinds[kind].trial_s(trial)
        if seconds is not None:
            found[trial.trial_id] = seconds
    return found


def _measured_record(record: TrialRecord) -> Measured | None:
    if record.state is not State.COMPLETE or record.num_packed > 1:
        return None
    origin = record.provenance
    return origin.ended_at, origin.devices, record.trial, record.train_time_s / record.num_epochs
