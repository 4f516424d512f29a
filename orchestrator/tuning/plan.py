"""A grid and a results root in, a priced row a cell out: what is done, what will run and why; writes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from orchestrator import cost, provenance
from orchestrator.errors import ResultsError
from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import Resources, SweepSpec
from orchestrator.grids.trial_resources import resources_of
from orchestrator.record import State, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.trial import Cell, Trial
from orchestrator.tuning.cell_search import chosen_values, survey_searches
from orchestrator.tuning.evidence import known_so_far
from orchestrator.tuning.search_plan import SearchPlan, earlier_cells, plan_search, search_warnings
from orchestrator.tuning.survey import Standing, survey
from orchestrator.tuning.timing import EpochTimes

Measured = tuple[str, str, Mapping[str, Any], float]
"""When, on which device, what, and the seconds an epoch."""

NEW, DONE, PARTLY, CHANGED, AFTER_SEARCH = "new", "done", "partly done", "changed", "after search"


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """One cell, priced."""

    cell_id: str
    axes: Mapping[str, Any]
    standing: str
    """new, done, partly done or changed; `after search` while the ids of its trials are not known."""
    reasons: tuple[str, ...]
    """Why trials of it run, or what is unusual about those that are done."""
    num_trials: int
    num_finished: int
    num_failed: int
    num_diverged: int
    num_params: int
    flops: int
    """Of one image, forward, a multiply-add is 2."""
    memory_mib: float | None
    """Expected peak of training; None for an attention without a closed form."""
    trial_time_s: float | None
    """Expected training time of one trial; None until a comparable epoch was measured on this kind of device."""
    remaining_time_s: float | None
    """Of the measured trials that are still to run, one after the other."""
    gpu_hours: float | None
    """GPUs a trial times the remaining time; 0 on a CPU, None while the time is unknown."""
    search: SearchPlan | None = None
    """The search before it, priced apart; None for a cell that is not searched."""


@dataclass(frozen=True, kw_only=True)
class SweepPlan:
    """A sweep, priced."""

    sweep: str
    device: str
    cells: tuple[CellPlan, ...]
    num_trials: int
    """Measured trials; as in the next two, those whose ids a search has yet to tell included."""
    num_finished: int
    num_to_run: int
    num_trials_at_most: int
    """More than `num_trials` where a rule may ask for more seeds."""
    remaining_time_s: float | None
    """Of search and measured trials that are still to run, one after the other."""
    remaining_time_at_most_s: float | None
    """The same if every cell gets all the seeds that a rule allows."""
    gpu_hours: float | None
    """Of all cells, search trials included."""
    num_search_trials: int
    num_search_to_run: int
    warnings: tuple[str, ...]


def build_plan(spec: SweepSpec, grid: Grid, results: ResultsDir) -> SweepPlan:
    """Price every cell of `grid`: its search where there is one, and its measured trials."""
    searches = survey_searches(grid, spec.tune, results, lambda standing: False)
    grid = grid.with_chosen(chosen_values(searches), spec.seeds) if searches else grid
    grid = known_so_far(spec, grid, results)
    standings = {standing.trial.trial_id: standing for standing in survey(grid, results, spec.name)}
    times = _TimesByDevice(results, {name: one.record for name, one in standings.items() if one.record is not None})
    earlier = earlier_cells(results, spec.name)
    cells = []
    for cell in grid.cells:
        known = [standings[trial.trial_id] for trial in cell.trials]
        search = searches.get(cell.cell_id)
        trial = search.cell.base if search is not None and not cell.trials else cell.trials[0]
        resources = resources_of(trial, spec.resources, spec.resource_overrides)
        gpus, measured = resources.gpus * resources.workers, times.of(resources)
        plan = _plan_cell(cell, trial, known, len(cell.trials) or len(spec.seeds), measured, gpus)
        if search is not None:
            plan = replace(plan, search=plan_search(search, measured, gpus, earlier.get(cell.cell_id, 0)))
        cells.append(plan)
    plans = [cell.search for cell in cells if cell.search is not None]
    num_trials, num_finished = sum(cell.num_trials for cell in cells), sum(s.is_finished for s in standings.values())
    remaining_s = _sum_or_none([*(c.remaining_time_s for c in cells), *(p.remaining_time_s for p in plans)])
    more = [0 if spec.seed_rule is None else max(0, spec.seed_rule.max - cell.num_trials) for cell in cells]
    more_s = _sum_or_none([_times(count, cell.trial_time_s) for count, cell in zip(more, cells, strict=True)])
    return SweepPlan(
        sweep=spec.name,
        device=times.describe(),
        cells=tuple(cells),
        num_trials=num_trials,
        num_finished=num_finished,
        num_to_run=num_trials - num_finished,
        num_trials_at_most=num_trials + sum(more),
        remaining_time_s=remaining_s,
        remaining_time_at_most_s=_sum_or_none([remaining_s, more_s]),
        gpu_hours=_sum_or_none([*(c.gpu_hours for c in cells), *(p.gpu_hours for p in plans)]),
        num_search_trials=sum(one.num_trials for one in plans),
        num_search_to_run=sum(one.num_to_run for one in plans),
        warnings=(*grid.warnings, *search_warnings(searches, results, spec.name)),
    )


class _TimesByDevice:
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
        return [row for row in found if row is not None]

    def describe(self) -> str:
        """The devices that were measured."""
        devices = [device for device, _ in self.known.values() if device is not None]
        return " and ".join(devices) or "nothing was trained on this kind of device yet"


def measured_times(results: ResultsDir, *, uses_gpu: bool, num_workers: int = 1) -> tuple[str | None, EpochTimes]:
    """Epoch times under `results` on as many devices as a run would use, and their name.

    For a CPU that is this machine's processor. Which GPU a run gets is not known before it starts, so the GPU that
    trained last stands for it.
    """
    return _times_of(_TimesByDevice(results, {}).measured, uses_gpu=uses_gpu, num_workers=num_workers)


def _times_of(measured: Sequence[Measured], *, uses_gpu: bool, num_workers: int) -> tuple[str | None, EpochTimes]:
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
    if record is not None and record.state is State.COMPLETE:
        origin = record.provenance
        return origin.ended_at, origin.devices, record.trial, record.train_time_s / record.num_epochs
    if record is not None or not rows:
        return None
    attempts, asked = folder.read_attempts(), folder.read_trial()
    if not attempts or asked is None:
        return None
    return attempts[-1].started_at, attempts[-1].devices, asked, sum(row.wall_time_s for row in rows) / len(rows)


def _plan_cell(
    cell: Cell, trial: Trial, standings: Sequence[Standing], num_trials: int, times: EpochTimes, gpus: float
) -> CellPlan:
    """`trial` stands for the cell; its own trials are not known before its search is over."""
    num_params, flops, memory = _counts(trial, on_gpu=gpus > 0)
    num_finished = sum(standing.is_finished for standing in standings)
    num_to_run = num_trials - num_finished
    notes = [standing.note for standing in standings if standing.note]
    reasons = tuple(dict.fromkeys(note for note in notes if note != "new"))
    trial_time_s = times.trial_s(trial)
    remaining_s = _times(num_to_run, trial_time_s)
    return CellPlan(
        cell_id=cell.cell_id,
        axes=dict(cell.axes),
        standing=_standing_of(standings) if standings else AFTER_SEARCH,
        reasons=reasons,
        num_trials=num_trials,
        num_finished=num_finished,
        num_failed=sum(standing.state is State.FAIL for standing in standings),
        num_diverged=sum(standing.state is State.DIVERGED for standing in standings),
        num_params=num_params,
        flops=flops,
        memory_mib=memory,
        trial_time_s=trial_time_s,
        remaining_time_s=remaining_s,
        gpu_hours=0.0 if gpus == 0 else None if remaining_s is None else remaining_s * gpus / 3600,
    )


def _standing_of(standings: Sequence[Standing]) -> str:
    num_finished = sum(standing.is_finished for standing in standings)
    if num_finished == len(standings):
        return DONE
    if num_finished:
        return PARTLY
    if any(standing.note.startswith("changed") for standing in standings):
        return CHANGED
    return NEW


def _counts(trial: Trial, *, on_gpu: bool) -> tuple[int, int, float | None]:
    if cost.is_closed_form(trial):
        return cost.num_params(trial), cost.flops(trial), cost.memory_mib(trial, on_gpu=on_gpu)
    from orchestrator.models import count_on_meta

    num_params, flops = count_on_meta(trial)
    return num_params, flops, None


def _times(count: int, seconds: float | None) -> float | None:
    """Of `count` trials; of none it is known whatever one takes."""
    return 0.0 if count == 0 else None if seconds is None else count * seconds


def _sum_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
