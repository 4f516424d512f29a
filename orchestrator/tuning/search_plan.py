"""Where a cell's search stands and measured times in, its price out; and what a longer search may change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import ResultsError
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuned import TunedSweep
from orchestrator.tuning.cell_search import CellSearch
from orchestrator.tuning.price import Price


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """The search of one cell, priced."""

    num_trials: int
    """Search trials, those not proposed yet included."""
    num_known: int
    """Those whose ids are known."""
    num_finished: int
    """COMPLETE, DIVERGED or PRUNED ones."""
    num_failed: int
    num_to_run: int
    num_packed: int
    """Search seeds of a proposal that one process trains together, at most."""
    trial_time_s: float | None
    """Expected training time of one of them; of its pack where it is packed."""
    is_time_rough: bool
    """Whether it comes from the processor's speed, as nothing alike was timed."""
    remaining_time_s: float | None
    gpu_hours: float | None
    chosen: Mapping[str, Any] | None
    """Nuisance values that the cell is measured with; None while the search goes on, or where nothing completed."""
    notes: tuple[str, ...]
    """What a person should know before it goes on."""


def plan_search(
    search: CellSearch, price_of: Callable[[Trial, int], Price], gpus: float, num_measured_before: int
) -> SearchPlan:
    """Price what is left of a search.

    Args:
        price_of: prices so many trials like this one.
        num_measured_before: measured trials of this cell at the last run.
    """
    states = Counter(search.states.values())
    num_trials = len(search.states) + search.num_unknown
    num_finished = states[State.COMPLETE] + states[State.DIVERGED] + states[State.PRUNED]
    num_to_run = num_trials - num_finished - states[State.FAIL]
    base = search.cell.search_trial(search.tuned.proposals[0].values, search.cell.base.seed)
    price = price_of(base, num_to_run)
    choice = search.tuned.choice
    notes = [note for standing in search.standings.values() if (note := standing.note) not in ("", "new")]
    if choice is None and num_measured_before:
        notes.append(
            f"more proposals may change what is chosen; then its {num_measured_before} measured trials are trained anew"
        )
    return SearchPlan(
        num_trials=num_trials,
        num_known=len(search.states),
        num_finished=num_finished,
        num_failed=states[State.FAIL],
        num_to_run=num_to_run,
        num_packed=price.num_packed,
        trial_time_s=price.trial_s,
        is_time_rough=price.is_rough,
        remaining_time_s=price.remaining_s,
        gpu_hours=price.gpu_hours(gpus),
        chosen=None if choice is None else dict(choice.values),
        notes=tuple(dict.fromkeys(notes)),
    )


def earlier_cells(results: ResultsDir, name: str) -> Mapping[str, int]:
    """Measured trials of each cell at the sweep's last run, by cell_id; empty for a new sweep."""
    folder = results.sweep(name)
    try:
        members = folder.read_index().members if folder.trials_file.exists() else ()
    except ResultsError:
        return {}
    return Counter(member.cell_id for member in members)


def search_warnings(searches: Mapping[str, CellSearch], results: ResultsDir, name: str) -> Iterator[str]:
    """Proposals that are others than at the last run, because another Optuna makes them."""
    from orchestrator.tuning.search_phase import nothing_to_choose

    for search in searches.values():
        problem = nothing_to_choose(search)
        if problem is not None:
            yield problem
    before = _read_tuned(results, name) if searches else None
    if before is None:
        return
    from orchestrator.tuning.search import optuna_version

    known = {cell.cell_id: cell.proposals for cell in before.cells}
    changed = [
        search
        for cell_id, search in searches.items()
        if any(a.values != b.values for a, b in zip(search.tuned.proposals, known.get(cell_id, ()), strict=False))
    ]
    if changed and before.optuna != optuna_version():
        yield (
            f"{len(changed)} cells get other proposals than before, because Optuna is {optuna_version()} and was "
            f"{before.optuna}; install that version to go on with those"
        )


def _read_tuned(results: ResultsDir, name: str) -> TunedSweep | None:
    try:
        return results.sweep(name).read_tuned()
    except ResultsError:
        return None
