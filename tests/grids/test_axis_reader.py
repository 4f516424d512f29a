"""axis_reader.py: the forms of an axis, and what is said about others."""

from __future__ import annotations

import pytest

from orchestrator.grids.sweep_spec import Axis, MatchParams
from orchestrator.spec import loads_spec
from tests.grids.spec_errors import BadSpec, bad_specs, message_of

REST = "model: {num_heads: 2, patch_size: 2}\ndata: {name: digits}\ntrain: {epochs: 2, batch_size: 8, lr: 1e-3}\n"


@pytest.mark.parametrize("case", bad_specs("axes"), ids=str)
def test_a_bad_axis_is_told_with_place_and_what_is_allowed(case: BadSpec) -> None:
    assert message_of(case.text) == case.message


def test_an_axis_may_be_a_list_or_conditional_or_matched() -> None:
    spec = loads_spec(
        "name: s\naxes:\n"
        "  model.depth: [2, 4.0]\n"
        "  embed_dim: [8, {match_params: {depth: 4, model.embed_dim: 8}}]\n"
        "  drop_rate: {values: [0.1], when: {depth: [2, 4], attention: self}}\n"
        "  mixup: {values: [0.1]}\n" + REST
    )
    assert spec.axes == (
        Axis(name="depth", values=(2, 4)),
        Axis(name="embed_dim", values=(8, MatchParams({"depth": 4, "embed_dim": 8}))),
        Axis(name="drop_rate", values=(0.1,), when={"depth": (2, 4), "attention": ("self",)}),
        Axis(name="mixup", values=(0.1,)),
    )


def test_axes_know_where_their_values_stand() -> None:
    spec = loads_spec(f"name: s\naxes:\n  depth: {{values: [2, 4]}}\nzip:\n- embed_dim: [8, 16]\n{REST}", "f.yaml")
    depth, embed_dim = spec.all_axes
    assert spec.describe_place((*depth.path, 1)) == "f.yaml:3:23"
    assert spec.describe_place((*embed_dim.path, 0)) == "f.yaml:5:15"


def test_a_zip_is_one_group_or_a_list_of_groups() -> None:
    one = loads_spec(f"name: s\nzip: {{depth: [2, 4], embed_dim: [8, 16]}}\n{REST}")
    same = loads_spec(f"name: s\nzip: [{{depth: [2, 4], embed_dim: [8, 16]}}]\n{REST}")
    assert one == same
    assert [axis.name for axis in one.zips[0]] == ["depth", "embed_dim"]


def test_null_is_a_value_of_a_field_that_may_be_absent() -> None:
    spec = loads_spec(f"name: s\naxes: {{depth: [2], embed_dim: [8], clip_grad: [null, 1]}}\n{REST}")
    assert spec.axes[2].values == (None, 1.0)
    assert "f.yaml:2:16: depth cannot be null" in message_of(
        f"name: s\naxes: {{depth: [null], embed_dim: [8]}}\n{REST}"
    )
