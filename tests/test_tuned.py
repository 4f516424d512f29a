from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from orchestrator import durable
from orchestrator.errors import NewerFileError, ResultsError
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.tuned import SCHEMA, Choice, Proposal, TunedCell, TunedSweep

PROPOSAL = Proposal(number=0, values={"lr": 0.01}, trial_ids=("a",), state=State.COMPLETE, val_acc=0.5, val_loss=1.0)
CHOICE = Choice(proposal=0, values={"lr": 0.01}, val_acc=0.5, val_loss=1.0, positions={"lr": 1.0}, edges={"lr": "high"})
CELL = TunedCell(
    cell_id="c", axes={"depth": 2}, ranges={"lr": {"uniform": [0.0, 0.01]}}, proposals=(PROPOSAL,), choice=CHOICE,
    num_proposals=1,
)  # fmt: skip
SWEEP = TunedSweep(
    sweep="s", sampler="quasi_random", optuna="5.0.0", num_trials=1, batch_size=1, epochs=None, seeds=(10**12,),
    prune=False, edge_share=0.05, cells=(CELL, replace(CELL, cell_id="d", choice=None)),
)  # fmt: skip


def test_it_goes_through_json_and_back() -> None:
    assert TunedSweep.from_json(json.loads(json.dumps(asdict(SWEEP)))) == SWEEP


def test_a_search_is_over_when_every_proposal_of_its_budget_has_ended() -> None:
    assert CELL.is_over
    assert not replace(CELL, num_proposals=2).is_over
    waiting = replace(PROPOSAL, state=State.WAITING)
    assert not replace(CELL, proposals=(waiting,)).is_over
    assert (CELL.num(State.COMPLETE), CELL.num(State.PRUNED)) == (1, 0)


def test_a_choice_names_what_lies_at_an_edge() -> None:
    assert CHOICE.at_edge == ("lr",)
    assert replace(CHOICE, edges={"lr": None}).at_edge == ()


def test_it_is_read_where_a_run_left_it(results: ResultsDir) -> None:
    folder = results.sweep("s")
    assert folder.read_tuned() is None
    durable.write_sealed_json(folder.tuned_file, asdict(SWEEP))
    assert folder.read_tuned() == SWEEP


@pytest.mark.parametrize("changes", [{"cells": [{}]}, {"more": 1}])
def test_what_this_version_cannot_read_is_refused_by_name(results: ResultsDir, changes: dict) -> None:
    folder = results.sweep("s")
    durable.write_sealed_json(folder.tuned_file, {**asdict(SWEEP), **changes})
    with pytest.raises(ResultsError, match=r"tuned\.json does not say what was tuned"):
        folder.read_tuned()


def test_what_a_newer_version_wrote_is_refused_with_advice(results: ResultsDir) -> None:
    folder = results.sweep("s")
    durable.write_sealed_json(folder.tuned_file, {**asdict(SWEEP), "schema": SCHEMA + 1})
    with pytest.raises(NewerFileError, match=r"tuned\.json was written by a newer orch"):
        folder.read_tuned()
