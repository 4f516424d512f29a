from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.cli_run import count_params
from orchestrator.grid import Grid, count_trials, expand, expand_grid
from orchestrator.grids.search_cell import with_fields
from orchestrator.grids.tune_spec import SEARCH_SEEDS
from orchestrator.spec import loads_spec
from orchestrator.trial import Trial

TEXT = """\
name: tuned
axes: {depth: [1, 2], attention: [self, reattention]}
seeds: 2
tune:
  axes: {lr: {log_uniform: [1.0e-3, 1.0e-1]}, reattention_init: [random, identity]}
  num_trials: 3
model: {embed_dim: 8, num_heads: 2, patch_size: 4}
data: {name: digits}
train: {epochs: 2, batch_size: 256}
"""


def grid_of(text: str = TEXT) -> Grid:
    return expand_grid(loads_spec(text))


def test_a_cell_keeps_its_identity_whatever_is_chosen_and_however_it_is_searched() -> None:
    grid = grid_of()
    ids = [cell.cell_id for cell in grid.cells]
    assert len(set(ids)) == 4
    for lr in (1e-3, 0.05):
        chosen = {cell_id: {"lr": lr} for cell_id in ids}
        assert [cell.cell_id for cell in grid.with_chosen(chosen, (0, 1)).cells] == ids
    for change in (
        ("num_trials: 3", "num_trials: 9\n  sampler: tpe"),
        ("1.0e-1]", "1.0e-2]"),
        ("seeds: 2", "seeds: 5"),
    ):
        assert [cell.cell_id for cell in grid_of(TEXT.replace(*change)).cells] == ids
    assert not set(ids) & {cell.cell_id for cell in grid_of(TEXT.replace("epochs: 2", "epochs: 3")).cells}


def test_a_cell_has_no_trials_before_it_is_chosen_for() -> None:
    spec = loads_spec(TEXT)
    grid = expand_grid(spec)
    assert expand(spec) == grid.trials == ()
    first, *others = grid.cells
    chosen = {first.cell_id: {"lr": 0.01}}
    trials = expand(spec, chosen)
    assert [(trial.seed, trial.train.lr, trial.model.depth) for trial in trials] == [(0, 0.01, 1), (1, 0.01, 1)]
    assert expand_grid(spec, count_params, chosen=chosen) == grid.with_chosen(chosen, spec.seeds)
    assert all(not cell.trials for cell in grid.with_chosen(chosen, spec.seeds).cells[1:])
    assert len(others) == 3


def test_a_measured_trial_is_the_trial_of_a_spec_that_gives_the_value_itself() -> None:
    grid = grid_of()
    chosen = {cell.cell_id: {"lr": 0.01, "reattention_init": "identity"} for cell in grid.cells}
    chosen |= {cell.cell_id: {"lr": 0.01} for cell in grid.cells if cell.axes["attention"] == "self"}
    start = TEXT.index("tune:")
    written = TEXT[:start] + TEXT[TEXT.index("model:") :]
    written = written.replace("batch_size: 256", "batch_size: 256, lr: 0.01")
    written = written.replace("patch_size: 4", "patch_size: 4, reattention_init: identity")
    assert expand(loads_spec(TEXT), chosen) == expand(loads_spec(written))


def test_an_option_is_tuned_where_the_attention_reads_it() -> None:
    grid = grid_of()
    names = {c.axes["attention"]: {r.name for r in grid.searches[c.cell_id].ranges} for c in grid.cells}
    assert names == {"self": {"lr"}, "reattention": {"lr", "reattention_init"}}


def test_a_cell_in_which_nothing_is_chosen_is_measured_at_once() -> None:
    text = TEXT.replace("lr: {log_uniform: [1.0e-3, 1.0e-1]}, ", "").replace("256}", "256, lr: 0.01}")
    grid = grid_of(text)
    plain = [cell for cell in grid.cells if cell.axes["attention"] == "self"]
    assert all(len(cell.trials) == 2 and cell.cell_id == cell.trials[0].cell_id for cell in plain)
    assert len(grid.searches) == 2


def test_a_search_trial_has_the_searchs_schedule_and_a_seed_of_its_own() -> None:
    search = next(iter(grid_of(TEXT.replace("num_trials: 3", "num_trials: 3\n  epochs: 1")).searches.values()))
    trial = search.search_trial({"lr": 0.02}, SEARCH_SEEDS[0])
    assert (trial.train.epochs, trial.train.lr, trial.seed) == (1, 0.02, SEARCH_SEEDS[0])
    assert search.trial({"lr": 0.02}, 1).train.epochs == 2


def test_trials_are_counted_with_those_of_the_search() -> None:
    assert count_trials(loads_spec(TEXT)) == 4 * (2 + 3)
    assert count_trials(loads_spec(TEXT.replace("num_trials: 3", "num_trials: 3\n  seeds: 2"))) == 4 * (2 + 6)


def test_fields_are_changed_in_their_sections(tiny_trial: Trial) -> None:
    changed = with_fields(tiny_trial, {"lr": 0.5, "depth": 3})
    expected = replace(tiny_trial, model=replace(tiny_trial.model, depth=3), train=replace(tiny_trial.train, lr=0.5))
    assert changed == expected
    assert with_fields(tiny_trial, {}) is tiny_trial
    with pytest.raises(KeyError):
        with_fields(tiny_trial, {"learning_rate": 1})
