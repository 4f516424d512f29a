"""What a search leaves on disk, as types: `tuned.json`, each cell's proposals, what became of them, and the choice.

It says nothing that the records of the search trials do not say, and is written anew from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.record import State

SCHEMA = 1
"""Version of `tuned.json`."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Nuisance values that a search tried in one cell."""

    number: int
    """From 0, in the order they were proposed."""
    values: Mapping[str, Any]
    trial_ids: tuple[str, ...]
    """A search trial for each search seed; equal proposals share them."""
    state: State
    """COMPLETE when all its trials are; WAITING while one is missing; else FAIL, PRUNED or DIVERGED when one is."""
    val_acc: float | None
    """Mean over the search seeds, of final models on the validation split, 0..1; of a PRUNED proposal, at the epoch
    after which it was given up; else None."""
    val_loss: float | None
    pruned_epoch: int | None = None
    """The epoch after which it was given up, for a PRUNED proposal."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The proposal that a cell is measured with."""

    proposal: int
    values: Mapping[str, Any]
    val_acc: float
    val_loss: float
    positions: Mapping[str, float | None]
    """How far each value lies from the low end of its range, 0..1; in the logarithm for log_uniform, by rank for
    choices of numbers, None for choices without an order."""
    edges: Mapping[str, str | None]
    """`low` or `high` for a value at that edge of its range, else None."""

    @property
    def at_edge(self) -> tuple[str, ...]:
        """Names of the fields whose value lies at an edge."""
        return tuple(name for name, edge in self.edges.items() if edge is not None)


@dataclass(frozen=True, kw_only=True)
class TunedCell:
    """The search of one cell."""

    cell_id: str
    axes: Mapping[str, Any]
    """Scientific axis to value."""
    ranges: Mapping[str, Any]
    """Nuisance axis to range as the spec writes it, of the axes that apply in this cell."""
    proposals: tuple[Proposal, ...]
    """Those that are known: a batch is proposed when the one before it is over."""
    choice: Choice | None
    """None while the search goes on, and where no proposal completed."""
    num_proposals: int
    """The cell's budget."""

    @property
    def is_over(self) -> bool:
        """Whether every proposal of the budget has ended."""
        return len(self.proposals) == self.num_proposals and all(p.state is not State.WAITING for p in self.proposals)

    def num(self, state: State) -> int:
        """How many proposals are in `state`."""
        return sum(proposal.state is state for proposal in self.proposals)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TunedCell:
        """The cell that `dataclasses.asdict` made."""
        proposals = tuple(
            Proposal(**{**p, "state": State(p["state"]), "trial_ids": tuple(p["trial_ids"])})
            for p in content["proposals"]
        )
        choice = None if content["choice"] is None else Choice(**content["choice"])
        return cls(**{**content, "proposals": proposals, "choice": choice})


@dataclass(frozen=True, kw_only=True)
class TunedSweep:
    """The searches of a sweep; `tuned.json`."""

    sweep: str
    sampler: str
    optuna: str
    """Version of Optuna: another one may propose other values."""
    num_trials: int
    """Proposals a cell."""
    batch_size: int
    epochs: int | None
    """Epochs of a search trial, None for those of its cell."""
    seeds: tuple[int, ...]
    """Of search trials; no measured trial has one of them."""
    prune: bool
    edge_share: float
    """A value within this share of its range from an end is at the edge."""
    cells: tuple[TunedCell, ...]
    schema: int = SCHEMA

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TunedSweep:
        """The searches that `dataclasses.asdict` made.

        Raises:
            TypeError, KeyError, ValueError: a field is missing or unknown.
        """
        cells = tuple(TunedCell.from_json(cell) for cell in content["cells"])
        return cls(**{**content, "seeds": tuple(content["seeds"]), "cells": cells})
