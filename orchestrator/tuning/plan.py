"""A grid and a results root in, a priced row a cell out: what is done, what will run and why; writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator import cost
from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import Resources, SweepSpec
from orchestrator.grids.trial_resources import resources_of
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Cell, Trial
from orchestrator.tuning.cell_search import chosen_values, survey_searches
from orchestrator.tuning.device_memory import memory_warnings
from orchestrator.tuning.evidence import known_so_far
from orchestrator.tuning.forecast import TimesByDevice
from orchestrator.tuning.packing import why_alone
from orchestrator.tuning.price import Price, Prices
from orchestrator.tuning.search_plan import SearchPlan, earlier_cells, plan_search, search_warnings
from orchestrator.tuning.survey import Standing, survey

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
    num_packed: int
    """Seeds of those to run that one process trains together, at most."""
    memory_mib: float | None
    """Expected peak of training, of all seeds of a pack; None for an attention without a closed form."""
    trial_time_s: float | None
    """Expected training time of one trial, or of a pack where `num_packed` is more than 1; None until a comparable
    epoch, of as large a pack, was measured on this kind of device, where the processor's speed tells nothing either.
    """
    is_time_rough: bool
    """Whether it comes from the processor's speed, as nothing alike was timed."""
    remaining_time_s: float | None
    """Of the measured trials that are still to run, one trial or pack after the other."""
    gpu_hours: float | None
    """GPUs a trial or pack times the remaining time; 0 on a CPU, None while the time is unknown."""
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
    """Of search and measured trials that are still to run, one trial or pack after the other."""
    known_time_s: float
    """Of those of them whose time is known."""
    num_cells_unknown: int
    """Cells for which it is not known, of search or measured trials that are still to run."""
    is_time_rough: bool
    """Whether part of it comes from the processor's speed."""
    remaining_time_at_most_s: float | None
    """The same if every cell gets all the seeds that a rule allows."""
    gpu_hours: float | None
    """Of all cells, search trials included."""
    num_search_trials: int
    num_search_to_run: int
    warnings: tuple[str, ...]


def build_plan(spec: SweepSpec, grid: Grid, results: ResultsDir, executor: str = "ray_tune") -> SweepPlan:
    """Price every cell of `grid`: its search where there is one, and its measured trials.

    Args:
        executor: what is to train them; `resources.pack: auto` packs under `serial` alone.
    """
    searches = survey_searches(grid, spec.tune, results, lambda standing: False)
    grid = grid.with_chosen(chosen_values(searches), spec.seeds) if searches else grid
    grid = known_so_far(spec, grid, results)
    standings = {standing.trial.trial_id: standing for standing in survey(grid, results, spec.name)}
    times = TimesByDevice(results, {name: one.record for name, one in standings.items() if one.record is not None})
    earlier = earlier_cells(results, spec.name)

    def needs_of(trial: Trial) -> Resources:
        return resources_of(trial, spec.resources, spec.resource_overrides)

    prices = Prices(times, executor)
    cells: list[CellPlan] = []
    due: dict[Trial, CellPlan] = {}
    more_s: list[float | None] = []
    for cell in grid.cells:
        known = [standings[trial.trial_id] for trial in cell.trials]
        search = searches.get(cell.cell_id)
        trial = search.cell.base if search is not None and not cell.trials else cell.trials[0]
        resources = needs_of(trial)
        gpus = resources.gpus * resources.workers
        num_trials = len(cell.trials) or len(spec.seeds)
        num_to_run = num_trials - sum(standing.is_finished for standing in known)
        plan = _plan_cell(cell, trial, known, num_trials, prices.of(trial, num_to_run, resources), gpus)
        if search is not None:
            of_search = partial(prices.of, resources=resources, num_seeds=spec.tune.seeds if spec.tune else None)
            plan = replace(plan, search=plan_search(search, of_search, gpus, earlier.get(cell.cell_id, 0)))
        cells.append(plan)
        more_s.append(prices.of(trial, _num_more(spec, num_trials), resources).remaining_s)
        if num_to_run:
            due[trial] = plan
    plans = [cell.search for cell in cells if cell.search is not None]
    num_trials, num_finished = sum(cell.num_trials for cell in cells), sum(s.is_finished for s in standings.values())
    times_s = [c.remaining_time_s for c in cells] + [p.remaining_time_s for p in plans]
    remaining_s = _sum_or_none(times_s)
    return SweepPlan(
        sweep=spec.name,
        device=times.describe(),
        cells=tuple(cells),
        num_trials=num_trials,
        num_finished=num_finished,
        num_to_run=num_trials - num_finished,
        num_trials_at_most=num_trials + sum(_num_more(spec, cell.num_trials) for cell in cells),
        remaining_time_s=remaining_s,
        known_time_s=sum(seconds for seconds in times_s if seconds is not None),
        num_cells_unknown=sum(_is_unknown(cell) for cell in cells),
        is_time_rough=any(c.is_time_rough and c.remaining_time_s for c in cells)
        or any(p.is_time_rough and p.remaining_time_s for p in plans),
        remaining_time_at_most_s=_sum_or_none([remaining_s, *more_s]),
        gpu_hours=_sum_or_none([*(c.gpu_hours for c in cells), *(p.gpu_hours for p in plans)]),
        num_search_trials=sum(one.num_trials for one in plans),
        num_search_to_run=sum(one.num_to_run for one in plans),
        warnings=(
            *grid.warnings,
            *_apart(due, needs_of, executor),
            *memory_warnings(due, needs_of, {trial.cell_id: plan.num_packed for trial, plan in due.items()}),
            *search_warnings(searches, results, spec.name),
        ),
    )


def trials_by_device(spec: SweepSpec, grid: Grid) -> dict[str, list[Trial]]:
    """The first trial of each cell that one device trains alone, by device; a cell still to be searched has none."""
    found: dict[str, list[Trial]] = {}
    for trial in (cell.trials[0] for cell in grid.cells if cell.trials):
        resources = resources_of(trial, spec.resources, spec.resource_overrides)
        if resources.workers == 1:
            found.setdefault("cuda" if resources.gpus > 0 else "cpu", []).append(trial)
    return found


def _plan_cell(
    cell: Cell, trial: Trial, standings: Sequence[Standing], num_trials: int, price: Price, gpus: float
) -> CellPlan:
    """`trial` stands for the cell; its own trials are not known before its search is over."""
    num_params, flops, memory = _counts(trial, on_gpu=gpus > 0, num_seeds=price.num_packed)
    notes = [standing.note for standing in standings if standing.note]
    reasons = tuple(dict.fromkeys(note for note in notes if note != "new"))
    return CellPlan(
        cell_id=cell.cell_id,
        axes=dict(cell.axes),
        standing=_standing_of(standings) if standings else AFTER_SEARCH,
        reasons=reasons,
        num_trials=num_trials,
        num_finished=sum(standing.is_finished for standing in standings),
        num_failed=sum(standing.state is State.FAIL for standing in standings),
        num_diverged=sum(standing.state is State.DIVERGED for standing in standings),
        num_params=num_params,
        flops=flops,
        num_packed=price.num_packed,
        memory_mib=memory,
        trial_time_s=price.trial_s,
        is_time_rough=price.is_rough,
        remaining_time_s=price.remaining_s,
        gpu_hours=price.gpu_hours(gpus),
    )


def _apart(due: Mapping[Trial, CellPlan], needs_of: Callable[[Trial], Resources], executor: str) -> Iterator[str]:
    """Why cells that ask for packs get none, a sentence a reason."""
    reasons = Counter(
        why_alone(trial, plan.num_trials - plan.num_finished, needs_of(trial), executor) for trial, plan in due.items()
    )
    for reason, count in reasons.items():
        if reason is not None:
            yield f"{count} of {len(due)} cells are trained a seed at a time, though they ask for packs: {reason}"


def _standing_of(standings: Sequence[Standing]) -> str:
    num_finished = sum(standing.is_finished for standing in standings)
    if num_finished == len(standings):
        return DONE
    if num_finished:
        return PARTLY
    if any(standing.note.startswith("changed") for standing in standings):
        return CHANGED
    return NEW


def _counts(trial: Trial, *, on_gpu: bool, num_seeds: int) -> tuple[int, int, float | None]:
    if cost.is_closed_form(trial):
        memory = cost.memory_mib(trial, on_gpu=on_gpu, num_seeds=num_seeds)
        return cost.num_params(trial), cost.flops(trial), memory
    from orchestrator.models import count_on_meta

    num_params, flops = count_on_meta(trial)
    return num_params, flops, None


def _is_unknown(cell: CellPlan) -> bool:
    return cell.remaining_time_s is None or (cell.search is not None and cell.search.remaining_time_s is None)


def _num_more(spec: SweepSpec, num_trials: int) -> int:
    """Seeds that a rule may ask for besides `num_trials` of a cell."""
    return 0 if spec.seed_rule is None else max(0, spec.seed_rule.max - num_trials)


def _sum_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
