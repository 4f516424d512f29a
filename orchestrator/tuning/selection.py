"""What became of a cell's search trials in, what each proposal came to and which one is chosen out.

Only the validation split chooses. Nothing here reads a test number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from orchestrator.grids.tune_spec import Range
from orchestrator.record import EpochMetrics, State
from orchestrator.tuned import Choice, Proposal
from orchestrator.tuning.pruning import PruneRule, find_pruned
from orchestrator.tuning.survey import Standing

WORST_FIRST = (State.WAITING, State.FAIL, State.PRUNED, State.DIVERGED)
"""The states of its trials that decide the state of a proposal, the strongest first."""


@dataclass(frozen=True)
class Tried:
    """One search trial as its cell's search sees it."""

    standing: Standing
    state: State
    """WAITING also where the trial has to be trained (again)."""
    rows: tuple[EpochMetrics, ...] = ()
    """Its epochs, where the search prunes."""
    pruned: EpochMetrics | None = None
    """The epoch after which it was given up."""


def judge(
    standing: Standing, rows: tuple[EpochMetrics, ...], rule: PruneRule, is_due: Callable[[Standing], bool]
) -> Tried:
    """What became of one search trial.

    Whether it is pruned follows from its epochs and the rule alone: another sweep may have trained it to its end, or
    given it up where this one would not.
    """
    if is_due(standing) or standing.state in (State.WAITING, State.RUNNING):
        return Tried(standing, State.WAITING, rows)
    if standing.state is State.FAIL:
        return Tried(standing, State.FAIL, rows)
    pruned = find_pruned(rule, rows)
    if pruned is not None:
        return Tried(standing, State.PRUNED, rows, pruned)
    return Tried(standing, State.WAITING if standing.state is State.PRUNED else standing.state, rows)


def conclude(number: int, values: Mapping[str, Any], tried: Sequence[Tried]) -> Proposal:
    """What a proposal came to, from its trials, one a search seed."""
    states = {one.state for one in tried}
    state = next((state for state in WORST_FIRST if state in states), State.COMPLETE)
    val_acc = val_loss = None
    pruned = [one.pruned for one in tried if one.pruned is not None]
    if state is State.COMPLETE:
        records = [one.standing.record for one in tried]
        val_acc = fmean(record.val_acc for record in records if record is not None and record.val_acc is not None)
        val_loss = fmean(record.val_loss for record in records if record is not None and record.val_loss is not None)
    elif state is State.PRUNED:
        val_acc, val_loss = pruned[0].val_acc, pruned[0].val_loss
    return Proposal(
        number=number,
        values=dict(values),
        trial_ids=tuple(one.standing.trial.trial_id for one in tried),
        state=state,
        val_acc=val_acc,
        val_loss=val_loss,
        pruned_epoch=pruned[0].epoch if state is State.PRUNED else None,
    )


def choose(proposals: Sequence[Proposal], ranges: Sequence[Range]) -> Choice | None:
    """The COMPLETE proposal of highest mean validation accuracy, None without one.

    Ties go to the lower validation loss, then to the earlier proposal.
    """
    complete = [proposal for proposal in proposals if proposal.state is State.COMPLETE]
    if not complete:
        return None
    best = min(complete, key=_rank)
    assert best.val_acc is not None
    assert best.val_loss is not None
    return Choice(
        proposal=best.number,
        values=best.values,
        val_acc=best.val_acc,
        val_loss=best.val_loss,
        positions={one.name: one.position(best.values[one.name]) for one in ranges},
        edges={one.name: one.edge(best.values[one.name]) for one in ranges},
    )


def _rank(proposal: Proposal) -> tuple[float, float, int]:
    assert proposal.val_acc is not None
    assert proposal.val_loss is not None
    return -proposal.val_acc, proposal.val_loss, proposal.number
