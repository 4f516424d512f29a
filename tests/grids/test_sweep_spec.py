"""sweep_spec.py: names of sweeps, and places."""

from __future__ import annotations

import pytest

from orchestrator.grids.starter import starter_spec
from orchestrator.grids.sweep_spec import MatchParams, SweepSpec, is_sweep_name
from orchestrator.spec import loads_spec


@pytest.mark.parametrize("name", ["a", "depth_sweep", "2024-01.v2", "A" * 80, "a.b"])
def test_a_sweep_may_be_called_so(name: str) -> None:
    assert is_sweep_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a..b", "a/b", "a\\b", "-a", "_a", ".a", "a b", "a\n", "\na", "é", "A" * 81, "a:b", "~"]
)
def test_a_sweep_may_not_be_called_so(name: str) -> None:
    assert not is_sweep_name(name)


def test_a_place_is_that_of_the_value_or_of_what_is_around_it() -> None:
    text = "{name: s,\n model: {depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2},\n data: {name: digits},\n"
    spec = loads_spec(text + " train: {epochs: 1, batch_size: 8, lr: 1}}", "f.yaml")
    assert spec.place(("model", "depth")) == (2, 17)
    assert spec.place(("model", "depth"), key=True) == (2, 10)
    assert spec.place(("model", "mlp_ratio")) == (2, 2)
    assert spec.describe_place(("data", "name")) == "f.yaml:3:15"


def test_a_spec_made_in_code_has_no_places() -> None:
    assert SweepSpec(name="s").describe_place(("axes", "depth", 3)) == "<text>:1:1"


def test_zipped_axes_come_last() -> None:
    text = (
        starter_spec().replace("seeds:", "zip: {lr: [0.1, 0.2], mixup: [0, 1]}\nseeds:").replace("  lr: 5.0e-3\n", "")
    )
    assert loads_spec(text).axis_names == ("depth", "attention", "lr", "mixup")


def test_references_of_a_matched_width_are_equal_by_content() -> None:
    assert MatchParams({"depth": 2, "embed_dim": 8}) == MatchParams({"embed_dim": 8, "depth": 2})
    assert MatchParams({"embed_dim": 8}) != MatchParams({"embed_dim": 16})
