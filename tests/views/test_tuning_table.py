"""tuning_table.py: the search is shown and averaged with nothing; edges are warned of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from orchestrator import durable
from orchestrator.record import State, SweepIndex, SweepMember
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuned import Choice, Proposal, TunedCell, TunedSweep
from orchestrator.views.report import write_report
from orchestrator.views.table import read_table, summarize_cells
from orchestrator.views.tuning_table import (
    choice_table,
    edge_warnings,
    read_choices,
    read_search,
    search_sentence,
    search_warnings,
)
from tests.views.sweep_builder import SweepBuilder, make_record, make_trial

RANGES = {"lr": {"log_uniform": [1e-4, 1e-2]}, "optimizer": ["adamw", "sgd"]}
LRS = (1e-3, 9e-3)


def proposal(number: int, trial: Trial, val_acc: float | None, state: State = State.COMPLETE, **more) -> Proposal:
    values = {"lr": trial.train.lr, "optimizer": "adamw"}
    return Proposal(
        number=number, values=values, trial_ids=(trial.trial_id,), state=state, val_acc=val_acc, val_loss=1.0, **more
    )


def chosen(of: Proposal, position: float, edge: str | None) -> Choice:
    return Choice(
        proposal=of.number, values=of.values, val_acc=of.val_acc or 0.0, val_loss=1.0,
        positions={"lr": position, "optimizer": None}, edges={"lr": edge, "optimizer": None},
    )  # fmt: skip


def member(trial: Trial, axes: Mapping[str, object], proposal: int | None = None) -> SweepMember:
    return SweepMember(
        trial_id=trial.trial_id, cell_id=f"cell{axes['depth']}", seed=trial.seed, axes=axes,
        phase="measure" if proposal is None else "tune", proposal=proposal,
    )  # fmt: skip


@pytest.fixture
def sweep(tmp_path: Path) -> ResultsDir:
    """Two cells of two proposals: one chosen at the edge, one with a pruned proposal and a search that goes on."""
    results = ResultsDir(tmp_path / "results")
    cells, search, measured = [], [], []
    for depth in (4, 8):
        axes = {"depth": depth}
        trials = [make_trial({**axes, "lr": lr}, seed=10**12) for lr in LRS]
        search += [member(trial, axes, number) for number, trial in enumerate(trials)]
        builder = SweepBuilder(results, "s", ())
        for number, trial in enumerate(trials):
            if (depth, number) != (8, 1):
                builder.finish(trial, make_record(trial, val_acc=0.5 + 0.1 * number, test_acc=0.99))
        if depth == 4:
            proposals = (proposal(0, trials[0], 0.5), proposal(1, trials[1], 0.6))
            choice = chosen(proposals[1], 0.98, "high")
            trial = make_trial({**axes, "lr": LRS[1]}, seed=0)
            builder.finish(trial, make_record(trial, test_acc=0.8))
            measured.append(member(trial, axes))
        else:
            pruned = proposal(0, trials[0], 0.2, State.PRUNED, pruned_epoch=2)
            proposals, choice = (pruned, proposal(1, trials[1], None, State.WAITING)), None
        cells.append(
            TunedCell(
                cell_id=f"cell{depth}", axes=axes, ranges=RANGES, proposals=proposals, choice=choice, num_proposals=2
            )
        )
    index = SweepIndex(name="s", axes=("depth",), members=tuple(measured), search=tuple(search), num_pending=1)
    durable.write_sealed_json(results.sweep("s").trials_file, dataclasses.asdict(index))
    tuned = TunedSweep(
        sweep="s", sampler="quasi_random", optuna="5.0.0", num_trials=2, batch_size=2, epochs=4, seeds=(10**12,),
        prune=False, edge_share=0.05, cells=tuple(cells),
    )  # fmt: skip
    durable.write_sealed_json(results.sweep("s").tuned_file, dataclasses.asdict(tuned))
    return results


def test_search_trials_stand_in_a_table_of_their_own(sweep: ResultsDir) -> None:
    found = read_search(sweep, "s")
    assert len(found) == 4
    assert list(found["state"]) == ["COMPLETE", "COMPLETE", "PRUNED", "WAITING"]
    assert list(found["is_chosen"]) == [False, True, False, False]
    assert list(found["lr"]) == [*LRS, *LRS]
    assert list(found["depth"]) == [4, 4, 8, 8]
    assert found["val_acc"].iloc[:3].tolist() == [0.5, 0.6, 0.2]
    assert pd.isna(found["val_acc"].iloc[3])
    assert found["num_epochs"].iloc[2] == 2
    assert found["num_packed"].iloc[0] == 1
    assert pd.isna(found["num_packed"].iloc[3])
    assert not [name for name in found.columns if "test" in name]


def test_measured_tables_hold_no_search_trial(sweep: ResultsDir) -> None:
    table = read_table(sweep, "s")
    assert list(table["seed"]) == [0]
    cells = summarize_cells(table)
    assert (list(cells["n"]), list(cells["test_acc"])) == ([1], [0.8])


def test_choices_say_what_from_where_and_how_far(sweep: ResultsDir) -> None:
    choices = read_choices(sweep, "s")
    assert list(choices["field"]) == ["lr", "optimizer"] * 2
    first = choices.iloc[0]
    assert (first["value"], first["range"], first["position"], first["edge"]) == (
        "0.009", "0.0001 to 0.01 (log)", 0.98, "high",
    )  # fmt: skip
    assert choices.iloc[1]["range"] == "one of adamw, sgd"
    assert choices["value"].isna().tolist() == [False, False, True, True]
    rows = choice_table(choices)
    assert rows[0]["position"] == "98% of the way up, at the high edge"
    assert rows[0]["proposals"] == "2 of 2 complete"
    assert (rows[2]["chosen"], rows[2]["proposals"]) == ("none yet", "0 of 2 complete, 1 pruned, 1 to come")


def test_the_edge_and_an_unfinished_search_are_warned_of(sweep: ResultsDir) -> None:
    choices = read_choices(sweep, "s")
    (warning,) = edge_warnings(choices)
    assert warning.startswith("lr of depth 4 is 0.009, at the high edge of its range 0.0001 to 0.01 (log) (within 5% ")
    assert search_warnings(choices) == ["The search of depth 8 is not over: 0 of 2 complete, 1 pruned, 1 to come."]


def test_the_search_is_told_in_a_sentence(sweep: ResultsDir) -> None:
    text = search_sentence(read_choices(sweep, "s"))
    assert text.startswith("Each of 2 cells got 2 quasi-random proposals of lr, optimizer, each trained for 4 epochs ")
    assert "validation split" in text


def test_cells_chosen_from_fewer_proposals_or_not_at_all_are_told(sweep: ResultsDir) -> None:
    tuned = sweep.sweep("s").read_tuned()
    assert tuned is not None
    first, second = tuned.cells
    bad = dataclasses.replace(first.proposals[0], state=State.DIVERGED, val_acc=None)
    cells = (
        dataclasses.replace(first, proposals=(bad, first.proposals[1])),
        dataclasses.replace(second, proposals=(bad, dataclasses.replace(bad, state=State.FAIL))),
    )
    durable.write_sealed_json(sweep.sweep("s").tuned_file, dataclasses.asdict(dataclasses.replace(tuned, cells=cells)))
    assert search_warnings(read_choices(sweep, "s")) == [
        "depth 4 was chosen from fewer proposals: 1 of 2 complete, 1 diverged.",
        "depth 8 is not measured: none of its 2 proposals completed.",
    ]


def test_a_sweep_without_a_search_has_empty_tables(sweep: ResultsDir) -> None:
    sweep.sweep("s").tuned_file.unlink()
    index = sweep.sweep("s").read_index()
    plain = dataclasses.asdict(dataclasses.replace(index, search=(), num_pending=0))
    durable.write_sealed_json(sweep.sweep("s").trials_file, plain)
    choices = read_choices(sweep, "s")
    assert (len(read_search(sweep, "s")), len(choices)) == (0, 0)
    assert (choice_table(choices), edge_warnings(choices), search_warnings(choices)) == ([], [], [])
    assert search_sentence(choices) == ""


def test_the_report_shows_the_choices_and_warns(sweep: ResultsDir) -> None:
    page = write_report(sweep, "s").path.read_text()
    assert "Not complete: 1 of 2 trials finished (1 of cells that are still searched)." in page
    assert "98% of the way up, at the high edge" in page
    for caveat in (*edge_warnings(read_choices(sweep, "s")), *search_warnings(read_choices(sweep, "s"))):
        assert f"<li>{caveat}</li>" in page
    assert "No cell has a learning rate of its own" not in page
