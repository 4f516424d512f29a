"""grid.py: the laws of expansion, then examples."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cost import num_params
from orchestrator.errors import SpecError
from orchestrator.grid import Grid, expand, expand_grid
from orchestrator.grids.strict_yaml import dump
from orchestrator.spec import loads_spec
from tests.grids.spec_strategies import contents, load

REST = "data: {name: digits}\ntrain: {epochs: 2, batch_size: 8, lr: 1e-3}\n"


def grid_of(text: str) -> Grid:
    return expand_grid(loads_spec(f"name: s\n{text}\n{REST}", "f.yaml"))


def ids(grid: Grid) -> set[str]:
    return {trial.trial_id for trial in grid.trials}


def shuffled(value: Any, shuffle: random.Random) -> Any:
    """The same content with keys, and the values of axes and rules, in another order."""
    if isinstance(value, dict):
        items = [(key, item if key == "zip" else shuffled(item, shuffle)) for key, item in value.items()]
        return dict(shuffle.sample(items, len(items)))
    if isinstance(value, list):
        return [shuffled(item, shuffle) for item in shuffle.sample(value, len(value))]
    return value


@settings(max_examples=50)
@given(contents(), st.randoms(use_true_random=False))
def test_the_order_of_keys_and_values_changes_no_trial_id(content: dict[str, Any], shuffle: random.Random) -> None:
    assert ids(expand_grid(load(content))) == ids(expand_grid(load(shuffled(content, shuffle))))


@settings(max_examples=50)
@given(contents())
def test_expand_gives_each_cell_every_seed_and_no_trial_twice(content: dict[str, Any]) -> None:
    spec = load(content)
    grid = expand_grid(spec)
    assert len(ids(grid)) == len(grid.trials) == len(grid.cells) * len(spec.seeds)
    assert len({cell.cell_id for cell in grid.cells}) == len(grid.cells)
    for cell in grid.cells:
        assert tuple(trial.seed for trial in cell.trials) == spec.seeds
        assert {trial.cell_id for trial in cell.trials} == {cell.cell_id}


@settings(max_examples=50)
@given(contents())
def test_expand_is_pure(content: dict[str, Any]) -> None:
    spec = load(content)
    assert expand_grid(spec) == expand_grid(spec)
    assert expand(spec) == expand_grid(spec).trials


@settings(max_examples=50)
@given(contents())
def test_what_a_cell_says_of_its_axes_is_what_its_trials_are(content: dict[str, Any]) -> None:
    spec = load(content)
    for cell in expand_grid(spec).cells:
        assert tuple(cell.axes) == spec.axis_names
        fields = {**vars(cell.trials[0].model), **vars(cell.trials[0].data), **vars(cell.trials[0].train)}
        assert all(value is None or value == fields[name] for name, value in cell.axes.items())


@settings(max_examples=50)
@given(contents())
def test_names_resources_tracking_and_probes_change_no_trial_id(content: dict[str, Any]) -> None:
    changed = {**content, "name": "other", "resources": {"cpus": 2, "gpus": 0.5}, "tracking": {"mlflow": False}}
    changed["probe"] = {"images": 8, "epochs": [1], "skip_images": 0}
    changed["data"] = {**content["data"], "root": "/elsewhere"}
    changed["train"] = {**content["train"], "checkpoint_minutes": 1}
    assert ids(expand_grid(load(content))) == ids(expand_grid(load(changed)))


@pytest.mark.parametrize(("one", "other"), [("12", "12.0"), ("12", "+12"), ("12", "0xC"), ("12", "1.2e1")])
def test_a_whole_number_is_one_value_however_it_is_written(one: str, other: str) -> None:
    text = "model: {{depth: {}, embed_dim: 8, num_heads: 2, patch_size: 2}}"
    assert ids(grid_of(text.format(one))) == ids(grid_of(text.format(other)))


@pytest.mark.parametrize("other", ["0.001", ".001", "1.0e-3", "1E-03"])
def test_a_number_is_one_value_however_it_is_written(other: str) -> None:
    text = f"name: s\nmodel: {{depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}}\n{REST}"
    one, two = expand(loads_spec(text)), expand(loads_spec(text.replace("1e-3", other)))
    assert [trial.trial_id for trial in one] == [trial.trial_id for trial in two]


def test_the_first_axis_is_the_slowest() -> None:
    grid = grid_of("axes: {depth: [2, 4], embed_dim: [8, 16]}\nmodel: {num_heads: 2, patch_size: 2}")
    assert [tuple(cell.axes.values()) for cell in grid.cells] == [(2, 8), (2, 16), (4, 8), (4, 16)]


def test_a_spec_without_axes_is_one_cell() -> None:
    grid = grid_of("model: {depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}\nseeds: [5, 3]")
    assert [dict(cell.axes) for cell in grid.cells] == [{}]
    assert [trial.seed for trial in grid.trials] == [5, 3]


def test_zipped_axes_advance_together() -> None:
    text = "axes: {patch_size: [2, 4]}\nzip: {depth: [2, 4], model.embed_dim: [16, 8]}\nmodel: {num_heads: 2}"
    assert [tuple(cell.axes.values()) for cell in grid_of(text).cells] == [(2, 2, 16), (2, 4, 8), (4, 2, 16), (4, 4, 8)]


def test_groups_of_zipped_axes_multiply() -> None:
    text = "zip:\n- {depth: [2, 4], embed_dim: [16, 8]}\n- {patch_size: [2, 4]}\nmodel: {num_heads: 2}"
    assert len(grid_of(text).cells) == 4


def test_a_conditional_axis_multiplies_only_where_it_applies() -> None:
    text = (
        "axes:\n  reattention_last: {values: [1, 2], when: {attention: reattention}}\n"
        "  attention: [self, reattention]\nmodel: {depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}"
    )
    found = grid_of(text)
    assert [tuple(cell.axes.values()) for cell in found.cells] == [
        (None, "self"),
        (1, "reattention"),
        (2, "reattention"),
    ]
    assert found.warnings == ()


def test_where_a_conditional_axis_does_not_apply_the_section_holds() -> None:
    text = (
        "axes:\n  depth: [2, 4]\n  drop_path_rate: {values: [0.1, 0.2], when: {depth: [4, 8]}}\n"
        "model: {drop_path_rate: 0.05, embed_dim: 8, num_heads: 2, patch_size: 2}"
    )
    found = [(cell.axes["drop_path_rate"], cell.trials[0].model.drop_path_rate) for cell in grid_of(text).cells]
    assert found == [(None, 0.05), (0.1, 0.1), (0.2, 0.2)]


def test_exclusions_see_defaults_and_what_the_catalog_knows() -> None:
    text = "axes: {depth: [2, 4], name: [digits, cifar10]}\nmodel: {embed_dim: 8, num_heads: 2, patch_size: 2}\n"
    text += "exclude: [{img_size: 32, mlp_ratio: 4, depth: 2}]\n" + REST.replace("data: {name: digits}\n", "")
    grid = expand_grid(loads_spec("name: s\n" + text))
    assert [tuple(cell.axes.values()) for cell in grid.cells] == [(2, "digits"), (4, "digits"), (4, "cifar10")]
    assert grid.num_excluded == 1


MATCHED = """
axes:
  depth: [2, 8, 16]
  attention: [self, reattention]
  embed_dim: [32, {match_params: {depth: 16, embed_dim: 32}}]
model: {num_heads: 4, patch_size: 2}
"""


def test_a_matched_width_is_the_multiple_of_the_heads_nearest_in_parameters() -> None:
    grid = grid_of(MATCHED)
    for cell in grid.cells:
        trial = cell.trials[0]
        target = next(c.trials[0] for c in grid.cells if c.axes == {**cell.axes, "depth": 16, "embed_dim": 32})
        if cell.axes["embed_dim"] == 32:
            continue
        assert trial.model.embed_dim == cell.axes["embed_dim"]
        counts = {width: _num_params_at(trial, width) for width in range(4, 200, 4)}
        nearest = min(counts, key=lambda width: (abs(counts[width] - num_params(target)), width))
        assert trial.model.embed_dim == nearest


def _num_params_at(trial: Any, width: int) -> int:
    content = trial.canonical()
    content["model"]["embed_dim"] = width
    return num_params(type(trial).from_canonical(content))


def test_a_matched_width_that_another_cell_has_collapses_without_a_warning() -> None:
    grid = grid_of(MATCHED)
    assert len(grid.cells) == 10
    assert grid.num_collapsed == 2
    assert grid.warnings == ()


def test_exclusions_see_matched_widths() -> None:
    text = MATCHED.replace("[2, 8, 16]", "[16]") + "exclude: [{embed_dim: 32, attention: self}]"
    assert [cell.axes["attention"] for cell in grid_of(text).cells] == ["reattention"]


def test_match_params_of_an_attention_without_a_closed_form_takes_the_count_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("class Mine: ...\n")
    monkeypatch.chdir(tmp_path)
    spec = loads_spec("name: s\n" + MATCHED.replace("[self, reattention]", "['mine:Mine']") + REST, "f.yaml")
    with pytest.raises(SpecError, match=r"f.yaml:6:19: match_params cannot count parameters"):
        expand_grid(spec)
    widths = [cell.axes["embed_dim"] for cell in expand_grid(spec, lambda trial: 100 * trial.model.embed_dim).cells]
    assert widths == [32, 32, 32]


def test_a_users_own_attention_is_hashed_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "axes: {attention: [self, 'mine:Mine']}\nmodel: {depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}"
    with pytest.raises(SpecError, match=r"f.yaml:2:26: the attention 'mine:Mine' cannot be found"):
        grid_of(text)
    found = []
    for source in ("class Mine: ...\n", "class Mine: pass\n"):
        (tmp_path / "mine.py").write_text(source)
        found.append([trial.trial_id for trial in grid_of(text).trials])
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


def test_a_spec_made_in_code_is_checked_too() -> None:
    spec = loads_spec(f"name: s\nmodel: {{depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}}\n{REST}")
    broken = type(spec)(name="s", model={**spec.model, "num_heads": 3}, data=spec.data, train=spec.train)
    with pytest.raises(SpecError, match="num_heads 3 does not divide embed_dim 8"):
        expand(broken)


def test_dumping_a_content_and_loading_it_gives_the_grid_of_the_design() -> None:
    content = {
        "name": "example",
        "axes": {"depth": [12, 32], "attention": ["self", "reattention"], "embed_dim": [48]},
        "exclude": [{"depth": 32, "attention": "self", "embed_dim": 48}],
        "seeds": 3,
        "model": {"patch_size": 2, "num_heads": 4, "mlp_ratio": 3.0},
        "data": {"name": "digits"},
        "train": {"epochs": 30, "batch_size": 64, "lr": 2.0e-3, "warmup_epochs": 3},
    }
    grid = expand_grid(loads_spec(dump(content)))
    assert len(grid.trials) == 9
    data = grid.trials[0].data
    assert (data.num_classes, data.in_chans, data.test_fraction) == (10, 1, 0.2)
    assert grid.trials[0].model.img_size == 8


def test_a_nuisance_axis_that_not_every_cell_reads_is_told() -> None:
    start = "axes: {attention: [self, reattention]}\nmodel: {depth: 1, embed_dim: 8, num_heads: 2, patch_size: 4}\n"
    some = grid_of(start + "tune: {axes: {reattention_norm: [batchnorm, none]}, num_trials: 2}")
    (warning,) = some.warnings
    assert warning.startswith("f.yaml:4:")
    assert "reattention_norm is chosen in 1 of 2 cells" in warning
    assert grid_of(start + "tune: {axes: {clip_grad: [0.5, 1.0]}, num_trials: 2}").warnings == ()
