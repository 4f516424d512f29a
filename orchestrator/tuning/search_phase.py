"""A sweep with `tune:` in, the search trials of all cells trained batch by batch, each cell's choice out.

All cells are searched side by side: a round trains the present batch of every cell in one executor call. The sweep's
index and `tuned.json` are written before each round and at the end, always from the files of the search trials.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import durable
from orchestrator.errors import ResultsError
from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import State, SweepIndex
from orchestrator.results import ResultsDir, SweepFolder
from orchestrator.trial import Trial
from orchestrator.tuning.cell_search import CellSearch, IsDue, chosen_values, survey_searches, tuned_sweep
from orchestrator.tuning.pruning import PruneRule
from orchestrator.tuning.runner import Runner, RunOptions
from orchestrator.tuning.schedule import longest_first
from orchestrator.tuning.survey import Standing, build_index, survey


@dataclass(frozen=True, kw_only=True)
class SearchSummary:
    """The search trials of a sweep, each once, those not proposed yet included."""

    num_trials: int
    num_finished: int
    """COMPLETE ones."""
    num_pruned: int
    num_diverged: int
    num_failed: int
    num_unfinished: int
    num_chosen: int
    """Cells whose nuisance values are chosen."""
    problems: tuple[str, ...]
    """A sentence for each cell in which there is nothing to choose."""


def run_search(runner: Runner, grid: Grid) -> Mapping[str, CellSearch]:
    """Search every cell of `grid` to its end, or as far as trials end; empty without `tune:`.

    Raises:
        DataError, NotReadyError: as `Runner.train`.
    """
    spec, results, tune = runner.spec, runner.results, runner.spec.tune
    if tune is None:
        return {}
    attempted: set[str] = set()
    while True:
        searches = survey_searches(grid, tune, results, _to_do_again(runner.options, attempted))
        known = grid.with_chosen(chosen_values(searches), spec.seeds)
        index = index_of(spec, known, searches)
        write_snapshot(results.sweep(spec.name), spec, index)
        _write_tuned(results, spec, searches)
        due = _due(searches, attempted)
        if not due or runner.is_over:
            return searches
        standings = [*_standings(searches), *survey(known, results, spec.name)]
        runner.tell(index, standings, due)
        runner.train(standings, due, _rules(searches), is_probed=False)
        attempted.update(trial.trial_id for trial in due)


def index_of(spec: SweepSpec, grid: Grid, searches: Mapping[str, CellSearch]) -> SweepIndex:
    """What the sweep's folder says about its members; `grid` has the cells that are chosen for."""
    search = {member.trial_id: member for one in searches.values() for member in one.members()}
    return build_index(spec, grid, list(search.values()), sum(one.num_unknown for one in searches.values()))


def write_snapshot(folder: SweepFolder, spec: SweepSpec, index: SweepIndex) -> None:
    """Keep the spec and the members; nothing is written where nothing changed."""
    text = spec.source_text
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    if not folder.spec_file.exists() or folder.spec_file.read_text() != text:
        durable.write_text(folder.specs / f"{name}.yaml", text)
        durable.write_text(folder.spec_file, text)
    _write_if_changed(folder.trials_file, json.loads(json.dumps(index.to_json())))


def summarize_search(searches: Mapping[str, CellSearch]) -> SearchSummary | None:
    """Counts over all cells, None where nothing is searched."""
    if not searches:
        return None
    states = {trial_id: state for one in searches.values() for trial_id, state in one.states.items()}
    counts = {state: sum(value is state for value in states.values()) for state in State}
    num_unknown = sum(one.num_unknown for one in searches.values())
    return SearchSummary(
        num_trials=len(states) + num_unknown,
        num_finished=counts[State.COMPLETE],
        num_pruned=counts[State.PRUNED],
        num_diverged=counts[State.DIVERGED],
        num_failed=counts[State.FAIL],
        num_unfinished=counts[State.WAITING] + num_unknown,
        num_chosen=sum(one.tuned.choice is not None for one in searches.values()),
        problems=tuple(text for one in searches.values() if (text := nothing_to_choose(one)) is not None),
    )


def nothing_to_choose(search: CellSearch) -> str | None:
    """Why a cell whose search is over has no choice, and what to do; None for any other."""
    tuned = search.tuned
    if not tuned.is_over or tuned.choice is not None:
        return None
    counts = [(tuned.num(state), state) for state in (State.DIVERGED, State.FAIL, State.PRUNED)]
    told = " and ".join(f"{num} {'failed' if state is State.FAIL else state.lower()}" for num, state in counts if num)
    cell = ", ".join(f"{name} {value}" for name, value in tuned.axes.items() if value is not None) or "the only cell"
    advice = "see why with `orch logs`, then run with --retry-failed" if tuned.num(State.FAIL) else ""
    advice = advice or "move the ranges of tune:, e.g. to a lower lr"
    return (
        f"{cell}: none of {tuned.num_proposals} proposals completed ({told}), so there is nothing to measure; {advice}"
    )


def _to_do_again(options: RunOptions, attempted: set[str]) -> IsDue:
    """Trials that ended and this run takes on anew, each once."""

    def is_due(standing: Standing) -> bool:
        if standing.trial.trial_id in attempted:
            return False
        if standing.state is State.FAIL:
            return options.retry_failed
        return standing.is_finished and standing.is_other_code and options.retrain_changed

    return is_due


def _due(searches: Mapping[str, CellSearch], attempted: set[str]) -> list[Trial]:
    found = {trial.trial_id: trial for one in searches.values() for trial in one.due}
    return longest_first([trial for trial_id, trial in found.items() if trial_id not in attempted])


def _rules(searches: Mapping[str, CellSearch]) -> dict[str, PruneRule]:
    return {trial.trial_id: one.rule for one in searches.values() for trial in one.due if one.rule}


def _standings(searches: Mapping[str, CellSearch]) -> list[Standing]:
    return [standing for one in searches.values() for standing in one.standings.values()]


def _write_tuned(results: ResultsDir, spec: SweepSpec, searches: Mapping[str, CellSearch]) -> None:
    """Keep what was proposed, found and chosen; nothing is written where nothing changed."""
    assert spec.tune is not None
    path = results.sweep(spec.name).tuned_file
    content = json.loads(json.dumps(dataclasses.asdict(tuned_sweep(spec.name, spec.tune, searches))))
    _write_if_changed(path, content)


def _write_if_changed(path: Path, content: dict[str, Any]) -> None:
    """What a damaged file said is made of other files, and is written anew."""
    try:
        is_same = path.exists() and durable.read_document(path, content["schema"]) == content
    except ResultsError:
        is_same = False
    if not is_same:
        durable.write_sealed_json(path, content)
