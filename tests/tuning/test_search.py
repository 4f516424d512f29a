"""search.py: proposal i of a cell depends on the cell and i, and on nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.grids.search_cell import SearchCell
from orchestrator.grids.tune_spec import Range, Tune
from orchestrator.record import State
from orchestrator.tuned import Proposal
from orchestrator.tuning.search import propose
from tests.tuning.searches import TEXT, tuned

LR = Range(name="lr", kind="log_uniform", values=(1e-4, 1e-1))
DECAY = Range(name="weight_decay", kind="uniform", values=(0.0, 0.2))
WARMUP = Range(name="warmup_epochs", kind="int_uniform", values=(0, 3))
OPTIMIZER = Range(name="optimizer", kind="choice", values=("adamw", "sgd", "lamb"))
RANGES = (LR, DECAY, WARMUP, OPTIMIZER)


def cell(number: int = 0, ranges: tuple[Range, ...] = RANGES) -> SearchCell:
    found = list(tuned(TEXT)[1].searches.values())[number]
    return replace(found, ranges=ranges)


def ask(cell: SearchCell, num: int, **changes) -> list[dict]:
    return propose(cell, Tune(axes=cell.ranges, num_trials=num, **changes), 0, ())


def finished(proposals: list[dict], accs: list[float]) -> list[Proposal]:
    return [
        Proposal(number=n, values=values, trial_ids=(f"t{n}",), state=State.COMPLETE, val_acc=acc, val_loss=1 - acc)
        for n, (values, acc) in enumerate(zip(proposals, accs, strict=True))
    ]


@settings(max_examples=20)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([0, 1]))
def test_a_larger_budget_only_adds_proposals(few: int, more: int, number: int) -> None:
    assert ask(cell(number), few + more)[:few] == ask(cell(number), few)


@settings(max_examples=10)
@given(st.integers(1, 5), st.lists(st.floats(0, 1), min_size=12, max_size=12))
def test_quasi_random_proposals_depend_on_no_batch_and_no_result(size: int, accs: list[float]) -> None:
    whole = ask(cell(), 12)
    tune = Tune(axes=RANGES, num_trials=12, prune=True, batch_size=size)
    for batch in reversed(range(math.ceil(12 / size))):  # asked alone, and the last one first
        first = batch * size
        earlier = finished(whole[:first], accs[:first])
        assert propose(cell(), tune, batch, earlier) == whole[first : first + size]


def test_cells_have_sequences_of_their_own_and_the_order_of_axes_says_nothing() -> None:
    assert ask(cell(0), 8) != ask(cell(1), 8)
    assert ask(cell(0, RANGES[::-1]), 8) == ask(cell(0), 8)


@settings(max_examples=10)
@given(st.integers(0, 1), st.sampled_from(["quasi_random", "tpe"]))
def test_proposals_lie_in_their_ranges_and_have_four_digits(number: int, sampler: str) -> None:
    for values in ask(cell(number), 32, sampler=sampler, **({"batch_size": 32} if sampler == "tpe" else {})):
        assert list(values) == sorted(one.name for one in RANGES)
        assert 1e-4 <= values["lr"] <= 1e-1
        assert values["lr"] == float(f"{values['lr']:.4g}")
        assert 0 <= values["weight_decay"] <= 0.2
        assert values["warmup_epochs"] in range(4)
        assert type(values["warmup_epochs"]) is int
        assert values["optimizer"] in OPTIMIZER.values


def test_a_sobol_sequence_fills_every_octave_and_gives_every_choice_its_share() -> None:
    asked = ask(cell(), 16)
    for low in range(4):  # each quarter of the logarithm, and of the linear range
        assert sum(low <= 4 * LR.position(values["lr"]) < low + 1 for values in asked) == 4
        assert sum(low <= 4 * values["weight_decay"] / 0.2 < low + 1 for values in asked) == 4
    assert {sum(values["warmup_epochs"] == number for values in asked) for number in range(4)} == {4}
    assert min(sum(values["optimizer"] == name for values in asked) for name in OPTIMIZER.values) >= 5


GOLDEN = [
    {"lr": 0.01012, "optimizer": "adamw"},
    {"lr": 0.001195, "optimizer": "lamb"},
    {"lr": 0.000342, "optimizer": "sgd"},
]


def test_the_first_proposals_of_a_cell_are_these() -> None:
    """A change here is a change of trials: of Optuna, of the rounding, or of what seeds the sequence."""
    one = replace(cell(0, (LR, OPTIMIZER)), cell_id="0123456789abcdef")
    assert ask(one, 3) == GOLDEN


def test_tpe_depends_on_the_cell_the_batch_and_earlier_results_only() -> None:
    tune = Tune(axes=RANGES, num_trials=9, sampler="tpe", batch_size=3)
    first = propose(cell(), tune, 0, ())
    assert propose(cell(), tune, 0, ()) == first
    assert propose(cell(1), tune, 0, ()) != first
    earlier = finished(first, [0.1, 0.2, 0.3])
    second = propose(cell(), tune, 1, earlier)
    assert propose(cell(), tune, 1, earlier) == second
    assert propose(cell(), tune, 1, finished(first, [0.3, 0.2, 0.1])) != second
    assert propose(cell(), replace(tune, num_trials=5), 1, earlier) == second[:2]


def test_tpe_looks_where_it_was_good() -> None:
    """Accuracy has one peak over lr; the last batches lie nearer to it than the first."""
    tune, found = Tune(axes=(LR,), num_trials=40, sampler="tpe", batch_size=4), list[Proposal]()
    for batch in range(10):
        asked = propose(cell(0, (LR,)), tune, batch, found)
        accs = [1 - abs(math.log10(values["lr"]) + 2) / 3 for values in asked]
        found += [replace(p, number=p.number + 4 * batch) for p in finished(asked, accs)]
    first, last = (sum(p.val_acc or 0 for p in part) / 8 for part in (found[:8], found[-8:]))
    assert last > first + 0.1


@pytest.mark.parametrize("state", [State.DIVERGED, State.FAIL, State.PRUNED])
def test_tpe_goes_on_after_proposals_that_did_not_complete(state: State) -> None:
    tune = Tune(axes=RANGES, num_trials=9, sampler="tpe", batch_size=3)
    first = finished(propose(cell(), tune, 0, ()), [0.1, 0.2, 0.3])
    acc, epoch = (0.05, 2) if state is State.PRUNED else (None, None)
    ended = [replace(first[0], state=state, val_acc=acc, val_loss=acc, pruned_epoch=epoch), *first[1:]]
    assert len(propose(cell(), tune, 1, ended)) == 3
