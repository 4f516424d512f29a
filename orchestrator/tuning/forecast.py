"""Trials that were measured in, the expected times of others on the same kind of device out.

What was trained in a pack has the times of all its seeds, so it tells of packs of as many seeds and of nothing else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any

from orchestrator import provenance
from orchestrator.errors import ResultsError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import State, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.trial import Trial
from orchestrator.tuning.calibration import known_calibrations
from orchestrator.tuning.cold_times import ColdTimes, is_one_thread
from orchestrator.tuning.events import RunSettings
from orchestrator.tuning.packing import packs_by_cell
from orchestrator.tuning.timing import EpochTimes, ExpectedTime, family_of

Measured = tuple[str, str, Mapping[str, Any], float]
"""When, on which device, what, and the seconds an epoch."""


class TimesByDevice:
    """Epoch times by kind and number of devices and by the seeds that went together; the files are read when a cell
    first needs one, and once.
    """

    def __init__(self, results: ResultsDir, records: Mapping[str, TrialRecord]) -> None:
        self.results, self.records = results, records
        self.known: dict[tuple[bool, int, int], tuple[str | None, EpochTimes]] = {}

    def of(self, resources: Resources, num_packed: int = 1) -> EpochTimes:
        """Of trials alone, or of packs of `num_packed` seeds."""
        uses_gpu, num_workers, _ = kind = (resources.gpus > 0, resources.workers, num_packed)
        if kind not in self.known:
            measured = self.measured if num_packed == 1 else self.measured_packs[num_packed]
            self.known[kind] = _times_of(measured, uses_gpu=uses_gpu, num_workers=num_workers)
        return self.known[kind][1]

    @cached_property
    def measured(self) -> list[Measured]:
        """Of every trial under the root; records that are known are not read again."""
        folders = self.results.trials()
        found = (_measured_epoch(folder, self.records.get(folder.path.name)) for folder in folders)
        return with_calibrations([row for row in found if row is not None])

    @cached_property
    def measured_packs(self) -> Mapping[int, list[Measured]]:
        """Of every trial under the root, the epochs that it was trained in packs, by their number of seeds."""
        found = defaultdict[int, list[Measured]](list)
        for folder in self.results.trials():
            for num_packed, row in _measured_packs(folder, self.records.get(folder.path.name)):
                found[num_packed].append(row)
        return found

    def describe(self) -> str:
        """The devices that were measured."""
        devices = dict.fromkeys(device for device, _ in self.known.values() if device is not None)
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


def _measured_packs(folder: TrialFolder, record: TrialRecord | None) -> Iterable[tuple[int, Measured]]:
    """Of a finished trial, or of one that has begun, by the number of seeds; epochs that it was trained alone are left
    out, as are all rows of a trial that never was in a pack.
    """
    try:
        record = record or folder.read_record()
        if record is not None and (record.num_packed == 1 or record.state is not State.COMPLETE):
            return
        rows, attempts, asked = folder.read_metrics(), folder.read_attempts(), folder.read_trial()
    except ResultsError:
        return
    if not attempts or asked is None:
        return
    times: dict[int, list[float]] = {}
    for row in rows:
        times.setdefault(row.num_packed, []).append(row.wall_time_s)
    for num_packed, seconds in times.items():
        if num_packed > 1:
            yield num_packed, (attempts[-1].started_at, attempts[-1].devices, asked, sum(seconds) / len(seconds))


def forecast(to_run: Sequence[Trial], records: Sequence[TrialRecord], settings: RunSettings) -> dict[str, ExpectedTime]:
    """Expected times, by trial_id: by what was trained or timed, else by the speed of this machine's processor,
    corrected by what else it trained.

    Of trials that are to be packed nothing is expected: the records do not say how long each epoch of a pack took. Nor
    does this processor tell of those of a cluster.
    """
    rows = with_calibrations([row for row in map(_measured_record, records) if row is not None])

    @cache
    def times_of(uses_gpu: bool, num_workers: int) -> EpochTimes:
        return _times_of(rows, uses_gpu=uses_gpu, num_workers=num_workers)[1]

    found, packs, cold = {}, packs_by_cell(to_run, settings), ColdTimes(times_of(False, 1))
    for trial in to_run:
        if packs[trial.cell_id] > 1:
            continue
        resources = settings.resources_of(trial)
        seconds = times_of(resources.gpus > 0, resources.workers).trial_s(trial)
        if seconds is not None:
            found[trial.trial_id] = ExpectedTime(seconds)
        elif settings.address is None and is_one_thread(resources) and (rough_s := cold.trial_s(trial)) is not None:
            found[trial.trial_id] = ExpectedTime(rough_s, is_rough=True)
    return found


def _measured_record(record: TrialRecord) -> Measured | None:
    if record.state is not State.COMPLETE or record.num_packed > 1:
        return None
    origin = record.provenance
    return origin.ended_at, origin.devices, record.trial, record.train_time_s / record.num_epochs
