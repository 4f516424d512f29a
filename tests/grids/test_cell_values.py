"""cell_values.py: where a field's value comes from."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.grids.cell_values import DEFAULT_TEST_FRACTION, TrialFactory, drop_options, resolve_values
from orchestrator.grids.spec_fields import FIELDS
from orchestrator.grids.sweep_spec import MatchParams, SweepSpec

SPEC = SweepSpec(
    name="s",
    model={"depth": 2, "embed_dim": 8, "num_heads": 2, "patch_size": 2, "reattention_norm": "none"},
    data={"name": "digits", "root": "/data"},
    train={"epochs": 2, "batch_size": 8, "lr": 1e-3},
)


def test_every_field_has_an_entry() -> None:
    assert set(resolve_values(SweepSpec(name="s"), {})) == set(FIELDS)


def test_an_axis_comes_before_a_section_and_a_section_before_a_default() -> None:
    values = resolve_values(SPEC, {"depth": 4})
    assert (values["depth"], values["embed_dim"], values["mlp_ratio"]) == (4, 8, 4.0)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("digits", {"img_size": 8, "in_chans": 1, "num_classes": 10, "test_fraction": DEFAULT_TEST_FRACTION}),
        ("cifar100", {"img_size": 32, "in_chans": 3, "num_classes": 100, "test_fraction": None}),
        ("image_folder", {"img_size": None, "in_chans": 3, "num_classes": None, "test_fraction": None}),
    ],
)
def test_the_catalog_fills_what_a_dataset_knows(name: str, facts: dict[str, Any]) -> None:
    values = resolve_values(SPEC, {"name": name})
    assert {field: values[field] for field in facts} == facts


def test_what_is_given_comes_before_the_catalog() -> None:
    values = resolve_values(SPEC, {"img_size": 16, "test_fraction": 0.5})
    assert (values["img_size"], values["test_fraction"]) == (16, 0.5)


def test_options_are_those_of_the_attention() -> None:
    assert resolve_values(SPEC, {"attention": "self"})["reattention_norm"] is None
    values = resolve_values(SPEC, {"attention": "reattention"})
    assert (values["reattention_norm"], values["reattention_init"], values["reattention_last"]) == (
        "none",
        "random",
        None,
    )
    own = {"attention": "my_package.attention:Mine", "reattention_norm": "none"}
    drop_options(own)
    assert own["reattention_norm"] is None


def test_trials_of_equal_sections_share_them() -> None:
    factory = TrialFactory()
    values = resolve_values(SPEC, {})
    one, two = factory.trial(values, 0), factory.trial({**values, "depth": 4}, 1)
    assert one.data is two.data
    assert one.train is two.train
    assert (one.model.depth, two.model.depth, two.seed) == (2, 4, 1)
    assert one.data.root == "/data"


def test_a_reference_with_other_heads_and_depth_sets_the_parameters_to_match() -> None:
    factory = TrialFactory()
    values = resolve_values(SPEC, {"embed_dim": MatchParams({"embed_dim": 9, "num_heads": 3, "depth": 8})})
    width = factory.matched_width(values)
    assert width % 2 == 0
    assert width > 9
    assert factory.matched_width({**values, "embed_dim": MatchParams({"embed_dim": 8})}) == 8
