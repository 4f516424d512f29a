"""grid_warnings.py: each warning word for word, and silence where nothing is wrong."""

from __future__ import annotations

from orchestrator.grid import Grid, expand_grid
from orchestrator.spec import loads_spec

REST = """
model: {num_heads: 2, patch_size: 2}
data: {name: digits}
train: {epochs: 2, batch_size: 8}
"""


def grid_of(axes: str) -> Grid:
    return expand_grid(loads_spec(f"name: s\n{axes}{REST}", "f.yaml"))


def test_equal_values_collapse_and_both_places_are_named() -> None:
    grid = grid_of("axes:\n  depth: [2, 2.0]\n  embed_dim: [8]\n  lr: [0.1, 1e-1, 0.2]\n")
    assert len(grid.cells) == 2
    assert grid.num_collapsed == 4
    assert grid.warnings == (
        "f.yaml:5:13: lr 0.1 repeats lr 0.1 at f.yaml:5:8; their cells are one",
        "f.yaml:3:14: depth 2 repeats depth 2 at f.yaml:3:11; their cells are one",
    )


def test_an_epoch_to_probe_that_no_trial_reaches_is_told() -> None:
    axes = "axes: {depth: [2], embed_dim: [8], lr: [0.1]}\nprobe: {epochs: [1, 2, 5]}\n"
    assert grid_of(axes).warnings == ("f.yaml:3:24: nothing is probed at epoch 5: no trial lasts longer than 2",)


def test_equal_rows_of_a_zip_collapse() -> None:
    grid = grid_of("axes: {lr: [0.1]}\nzip: {depth: [2, 4, 2], embed_dim: [8, 8, 8.0]}\n")
    assert len(grid.cells) == 2
    assert grid.warnings == (
        "f.yaml:3:21: depth 2, embed_dim 8 repeats depth 2, embed_dim 8 at f.yaml:3:15; their cells are one",
    )


def test_cells_equal_by_a_default_collapse() -> None:
    grid = grid_of(
        "axes: {depth: [2], embed_dim: [8], lr: [0.1], attention: [reattention], reattention_norm: [null, batchnorm]}\n"
    )
    assert grid.warnings == (
        "f.yaml:2:98: reattention_norm batchnorm repeats reattention_norm None at f.yaml:2:92; their cells are one",
    )


def test_values_of_an_option_are_one_where_the_attention_does_not_read_it() -> None:
    grid = grid_of(
        "axes:\n  depth: [2]\n  embed_dim: [8]\n  lr: [0.1]\n"
        "  attention: [self, reattention]\n  reattention_last: [1, 2]\n"
    )
    assert [cell.axes["reattention_last"] for cell in grid.cells] == [None, 1, 2]
    assert grid.num_collapsed == 1
    (warning,) = grid.warnings
    assert warning == (
        "f.yaml:7:21: the 2 values of reattention_last are one for attention 'self' at f.yaml:6:15, "
        "which does not read it"
    )


def test_a_zipped_option_that_is_not_read_is_left_out_with_a_warning() -> None:
    grid = grid_of(
        "axes: {depth: [2], embed_dim: [8], lr: [0.1]}\n"
        "zip: {attention: [self, self, reattention], reattention_last: [1, null, 1]}\n"
    )
    assert [cell.axes["reattention_last"] for cell in grid.cells] == [None, 1]
    assert grid.warnings[0] == (
        "f.yaml:3:64: reattention_last is left out for attention 'self' at f.yaml:3:19, which does not read it"
    )


def test_a_rule_that_removes_nothing_is_named() -> None:
    grid = grid_of(
        "axes: {depth: [2, 4], embed_dim: [8], lr: [0.1]}\n"
        "exclude:\n- {depth: 4}\n- {depth: 3}\n- {depth: 4, embed_dim: 8}\n"
    )
    assert grid.num_excluded == 1
    assert grid.warnings == ("f.yaml:5:3: this rule of exclude: removes no cell",)


def test_an_axis_that_never_applies_is_named() -> None:
    grid = grid_of("axes:\n  depth: [2]\n  embed_dim: [8]\n  lr: [0.1]\n  mixup: {values: [0.2], when: {depth: 4}}\n")
    assert grid.warnings == ("f.yaml:6:19: axis mixup applies to no cell",)


def test_an_option_of_one_value_beside_an_attention_without_it_is_a_plain_comparison() -> None:
    axes = "axes: {depth: [2], embed_dim: [8], lr: [0.1], attention: [self, reattention], reattention_last: [1]}\n"
    assert grid_of(axes).warnings == ()


def test_warnings_do_not_run_without_end() -> None:
    grid = grid_of(f"axes: {{depth: {[2] * 30}, embed_dim: [8], lr: [0.1]}}\n")
    assert len(grid.warnings) == 21
    assert grid.warnings[-1] == "f.yaml: 9 more warnings like these"
    assert grid.num_collapsed == 29


def test_a_rule_for_resources_that_agrees_with_no_cell_is_told() -> None:
    axes = (
        "axes: {depth: [2, 4], embed_dim: [8], lr: [0.1]}\n"
        "resources: {overrides: [{when: {depth: 4}, cpus: 2}, {when: {depth: [6, 8]}, cpus: 2}]}\n"
    )
    assert grid_of(axes).warnings == ("f.yaml:3:54: this rule of resources.overrides: applies to no cell",)


def test_a_rule_for_resources_by_what_a_search_chooses_is_not_judged() -> None:
    text = (
        "axes: {depth: [2], embed_dim: [8]}\ntune: {axes: {lr: {log_uniform: [0.1, 0.2]}}, num_trials: 4}\n"
        "resources: {overrides: [{when: {lr: 0.11}, cpus: 2}]}\n"
    )
    assert grid_of(text).warnings == ()
