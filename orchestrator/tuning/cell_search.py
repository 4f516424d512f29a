"""A searched cell and a results root in; its proposals so far, what they came to, and which trials are due out.

Everything follows from the files of the search trials, batch by batch: a batch is proposed when all earlier ones are
over. So a search that was interrupted goes on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import ResultsError
from orchestrator.grid import Grid
from orchestrator.grids.search_cell import SearchCell
from orchestrator.grids.tune_spec import EDGE_SHARE, Tune
from orchestrator.record import EpochMetrics, State, SweepMember
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuned import Proposal, TunedCell, TunedSweep
from orchestrator.tuning.pruning import PruneRule, median_rule
from orchestrator.tuning.selection import Tried, choose, conclude, judge
from orchestrator.tuning.survey import Standing, standing_of

IsDue = Callable[[Standing], bool]
"""Whether a trial that has ended is to be trained again."""


@dataclass(frozen=True)
class CellSearch:
    """Where the search of one cell stands."""

    cell: SearchCell
    tuned: TunedCell
    standings: Mapping[str, Standing]
    """By id, the search trials that are known; equal proposals share theirs."""
    states: Mapping[str, State]
    """By id, what became of them here."""
    due: tuple[Trial, ...]
    """Trials of the present batch that have to be trained."""
    rule: PruneRule
    """What the trials that are due are held against."""

    @property
    def num_unknown(self) -> int:
        """Search trials that are not proposed yet."""
        num_seeds = len(self.tuned.proposals[0].trial_ids)
        return (self.tuned.num_proposals - len(self.tuned.proposals)) * num_seeds

    def num(self, state: State) -> int:
        """How many of its known trials are in `state`."""
        return sum(one is state for one in self.states.values())

    def members(self) -> list[SweepMember]:
        """Its known trials, each under the first proposal that has it."""
        found: dict[str, SweepMember] = {}
        for proposal in self.tuned.proposals:
            for trial_id in proposal.trial_ids:
                found.setdefault(
                    trial_id,
                    SweepMember(
                        trial_id=trial_id,
                        cell_id=self.cell.cell_id,
                        seed=self.standings[trial_id].trial.seed,
                        axes=dict(self.cell.axes),
                        phase="tune",
                        proposal=proposal.number,
                    ),
                )
        return list(found.values())


def survey_searches(grid: Grid, tune: Tune | None, results: ResultsDir, is_due: IsDue) -> dict[str, CellSearch]:
    """Where the search of each cell stands, by cell_id, in the order of the grid; empty without `tune:`."""
    if tune is None:
        return {}
    return {
        cell.cell_id: _Walk(grid.searches[cell.cell_id], tune, results, is_due).survey()
        for cell in grid.cells
        if cell.cell_id in grid.searches
    }


def chosen_values(searches: Mapping[str, CellSearch]) -> dict[str, Mapping[str, Any]]:
    """The nuisance values of every cell whose search is over and chose some."""
    choices = {cell_id: search.tuned.choice for cell_id, search in searches.items()}
    return {cell_id: choice.values for cell_id, choice in choices.items() if choice is not None}


def tuned_sweep(name: str, tune: Tune, searches: Mapping[str, CellSearch]) -> TunedSweep:
    """What `tuned.json` says."""
    from orchestrator.tuning.search import optuna_version

    return TunedSweep(
        sweep=name,
        sampler=tune.sampler,
        optuna=optuna_version(),
        num_trials=tune.num_trials,
        batch_size=tune.trials_a_batch,
        epochs=tune.epochs,
        seeds=tune.search_seeds,
        prune=tune.prune,
        edge_share=EDGE_SHARE,
        cells=tuple(search.tuned for search in searches.values()),
    )


@dataclass
class _Walk:
    """One walk over the batches of a cell."""

    cell: SearchCell
    tune: Tune
    results: ResultsDir
    is_due: IsDue
    proposals: list[Proposal] = field(default_factory=list)
    tried: dict[str, Tried] = field(default_factory=dict)

    def survey(self) -> CellSearch:
        rule: PruneRule = {}
        due: dict[str, Trial] = {}
        batch = 0
        while len(self.proposals) < self.tune.num_trials and not due:
            rule = self._rule()
            for values in self._propose(batch):
                self._try(values, rule, due)
            batch += 1
        is_over = len(self.proposals) == self.tune.num_trials and not due
        tuned = TunedCell(
            cell_id=self.cell.cell_id,
            axes=dict(self.cell.axes),
            ranges={one.name: one.written for one in self.cell.ranges},
            proposals=tuple(self.proposals),
            choice=choose(self.proposals, self.cell.ranges) if is_over else None,
            num_proposals=self.tune.num_trials,
        )
        standings = {trial_id: one.standing for trial_id, one in self.tried.items()}
        states = {trial_id: one.state for trial_id, one in self.tried.items()}
        return CellSearch(self.cell, tuned, standings, states, tuple(due.values()), rule)

    def _propose(self, batch: int) -> Sequence[Mapping[str, Any]]:
        from orchestrator.tuning.search import propose

        return propose(self.cell, self.tune, batch, self.proposals)

    def _try(self, values: Mapping[str, Any], rule: PruneRule, due: dict[str, Trial]) -> None:
        found = []
        for seed in self.tune.search_seeds:
            trial = self.cell.search_trial(values, seed)
            if trial.trial_id not in self.tried:
                standing = standing_of(trial, self.results)
                self.tried[trial.trial_id] = judge(standing, self._rows(trial), rule, self.is_due)
            found.append(self.tried[trial.trial_id])
        self.proposals.append(conclude(len(self.proposals), values, found))
        due.update({one.standing.trial.trial_id: one.standing.trial for one in found if one.state is State.WAITING})

    def _rule(self) -> PruneRule:
        if not self.tune.prune:
            return {}
        epochs = self.cell.base.train.epochs if self.cell.search_epochs is None else self.cell.search_epochs
        curves = [one.rows for one in self.tried.values() if one.state is State.COMPLETE]
        return median_rule(curves, epochs + self.cell.base.train.cooldown_epochs)

    def _rows(self, trial: Trial) -> tuple[EpochMetrics, ...]:
        if not self.tune.prune:
            return ()
        try:
            return tuple(self.results.trial(trial.trial_id).read_metrics())
        except ResultsError:
            return ()
