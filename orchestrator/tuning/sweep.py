"""A spec, its grid and a results root in, every missing trial trained, a `Summary` out.

What to run is read from the files: trials whose record exists are reused, interrupted ones go on, failed ones wait for
`retry_failed`, diverged ones are an outcome. A spec with `tune:` is searched first, and its cells are measured with
what was chosen. Who wants to know what happens is a listener; nobody has to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from orchestrator import claims, durable, lease
from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import Run, State, SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.cell_search import CellSearch, chosen_values, survey_searches
from orchestrator.tuning.evidence import HalfWidths, in_order_of_evidence, known_so_far, needs, num_wide
from orchestrator.tuning.runner import Listener, Runner, RunOptions
from orchestrator.tuning.search_phase import SearchSummary, index_of, run_search, summarize_search, write_snapshot
from orchestrator.tuning.survey import Standing, survey
from orchestrator.tuning.tidying import tidy_finished


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run ended. num_trials = num_finished + num_failed + num_diverged + num_unfinished.

    Only measured trials are counted, those whose search is not over among the unfinished ones.
    """

    sweep: str
    num_trials: int
    num_finished: int
    """COMPLETE trials, reused ones included."""
    num_reused: int
    """COMPLETE trials that this run did not train."""
    num_failed: int
    num_diverged: int
    num_unfinished: int
    wall_time_s: float
    search: SearchSummary | None = None
    """Of the search trials; None without `tune:`."""
    stopped_by: int | None = None
    """The signal that ended it."""
    num_wide: int | None = None
    """Cells whose interval is wider than a rule for the seeds asks for; None without one."""
    given_up: str | None = None
    """Why it ended before its trials were trained: all of them meet one error."""

    @property
    def exit_code(self) -> int:
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        has_failed_search = self.search is not None and self.search.num_failed > 0
        return 0 if self.num_finished == self.num_trials and not has_failed_search else 1


def run_sweep(
    spec: SweepSpec,
    grid: Grid,
    results: ResultsDir,
    options: RunOptions,
    listeners: Sequence[Listener] = (),
    half_widths: HalfWidths | None = None,
) -> Summary:
    """Train what is missing of `grid` under `results`.

    Args:
        half_widths: how well cells are known; a spec with a rule for its seeds needs it.

    Raises:
        LockedError: another run holds the sweep.
        ResultsError, DataError, ClusterError: the machine is not ready; nothing was trained, or all is saved.
    """
    began = time.monotonic()
    with _held(spec, results, options, listeners) as held, ExitStack() as stack:
        runner = Runner(spec, results, options, listeners, stack, run=(spec.name, held.number), note=held.note)
        if held.is_after_crash:
            _tidy(spec, grid, results)
        searches = run_search(runner, grid)
        grid = grid if spec.tune is None else grid.with_chosen(chosen_values(searches), spec.seeds)
        grid = known_so_far(spec, grid, results)
        standings, index = _train_grid(runner, grid, searches, half_widths)
        wall_time_s = time.monotonic() - began
        if spec.tune is not None:  # what became of search trials is judged, not only counted
            searches = survey_searches(grid, spec.tune, results, lambda standing: False)
        summary = _summarize(runner, standings, index.num_pending, summarize_search(searches), wall_time_s)
        return replace(summary, num_wide=num_wide(spec, standings, half_widths))


def _tidy(spec: SweepSpec, grid: Grid, results: ResultsDir) -> None:
    """Take away what a run that died left in trials that had finished, those of the search among them."""
    searches = survey_searches(grid, spec.tune, results, lambda standing: False)
    grid = grid if spec.tune is None else grid.with_chosen(chosen_values(searches), spec.seeds)
    searched = [standing for search in searches.values() for standing in search.standings.values()]
    for standing in [*searched, *survey(known_so_far(spec, grid, results), results, spec.name)]:
        if standing.is_finished:
            tidy_finished(results.trial(standing.trial.trial_id))


def _train_grid(
    runner: Runner, grid: Grid, searches: Mapping[str, CellSearch], half_widths: HalfWidths | None
) -> tuple[Sequence[Standing], SweepIndex]:
    """Train what is missing of `grid`, then round after round what a rule for the seeds asks for."""
    spec, results = runner.spec, runner.results
    searched = [standing for search in searches.values() for standing in search.standings.values()]
    standings = survey(grid, results, spec.name)
    to_run = select_trials(standings, runner.options)
    while True:
        index = index_of(spec, grid, searches)
        write_snapshot(results.sweep(spec.name), spec, index)
        to_run = [] if runner.is_over else to_run
        runner.tell(index, [*searched, *standings], to_run)
        if to_run:
            runner.train([*searched, *standings], to_run)
        if half_widths is None:
            return standings, index
        standings = survey(grid, results, spec.name)
        asked = {} if runner.is_over else needs(spec, standings, half_widths)
        if not asked:
            return standings, index
        known = {standing.trial.trial_id for standing in standings}
        grid = grid.with_num_seeds({cell_id: need.num_seeds for cell_id, need in asked.items()})
        standings = survey(grid, results, spec.name)
        ordered = in_order_of_evidence(standings, {cell_id: need.half_width for cell_id, need in asked.items()})
        to_run = [standing.trial for standing in ordered if standing.trial.trial_id not in known]
        runner.phase(f"{len(asked)} of {len(grid.cells)} cells get more seeds: their intervals are still too wide")


class _Held(NamedTuple):
    """A sweep that this run holds."""

    number: int
    """Of this run."""
    is_after_crash: bool
    """The run before it never came to its end."""
    note: Callable[[str], None]
    """Keeps a notice with the run."""


@contextmanager
def _held(spec: SweepSpec, results: ResultsDir, options: RunOptions, listeners: Sequence[Listener]) -> Iterator[_Held]:
    """Hold the sweep while the block runs.

    Raises:
        LockedError: another run holds it.
    """
    folder = results.sweep(spec.name)
    told: list[str] = []

    def on_wait(owner: str) -> None:
        if not told:
            told.append(owner)
            for listener in listeners:
                listener.phase(f"watching whether another run still lives ({owner})")

    make = partial(Run, command=options.command, executor=options.executor)
    with lease.hold(folder.runs, f"sweep {spec.name!r}", Run, make, on_wait) as held:
        for place in (results.root, results.code_file("any").parent, folder.path, folder.specs):
            durable.remove_leftovers(place)
        number = held.claim.number
        before = claims.read_claim(folder.runs, number - 1, Run) if number > 1 else None
        is_after_crash = number > 1 and (before is None or before.ended_at is None)
        yield _Held(number, is_after_crash, lambda text: held.update(notices=(*held.claim.notices, text)))


def select_trials(standings: Sequence[Standing], options: RunOptions) -> list[Trial]:
    """What has to be trained: the first seeds of all cells first, of equal seeds the longest training first, so that no
    long one is left alone at the end.
    """

    def is_due(standing: Standing) -> bool:
        if standing.is_finished:
            return standing.is_other_code and options.retrain_changed
        return standing.state is not State.FAIL or options.retry_failed

    return [standing.trial for standing in in_order_of_evidence(standings) if is_due(standing)]


def _summarize(
    runner: Runner, standings: Sequence[Standing], num_pending: int, search: SearchSummary | None, wall_time_s: float
) -> Summary:
    states = {s.trial.trial_id: runner.states[s.trial.trial_id] for s in standings}
    counts = {state: sum(1 for value in states.values() if value is state) for state in State}
    finished = {trial_id for trial_id, state in states.items() if state is State.COMPLETE}
    num_known = counts[State.COMPLETE] + counts[State.FAIL] + counts[State.DIVERGED]
    return Summary(
        sweep=runner.spec.name,
        num_trials=len(states) + num_pending,
        num_finished=len(finished),
        num_reused=len(finished - runner.trained),
        num_failed=counts[State.FAIL],
        num_diverged=counts[State.DIVERGED],
        num_unfinished=len(states) + num_pending - num_known,
        wall_time_s=wall_time_s,
        search=search,
        stopped_by=runner.stop.signal_number,
        given_up=runner.given_up,
    )
