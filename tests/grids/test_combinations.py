"""combinations.py: which combinations there are, and in which order."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings

from orchestrator.grids.combinations import (
    NO_ROW,
    CircleError,
    Combinations,
    combination_path,
    holds,
    option_owners,
    sources_of,
)
from orchestrator.grids.sweep_spec import Axis, SweepSpec
from tests.grids.spec_strategies import contents, load


def rows_of(*axes: Axis, zips: tuple[tuple[Axis, ...], ...] = (), **fields: Any) -> list[tuple[int, ...]]:
    return [found.rows for found in Combinations(SweepSpec(name="s", axes=axes, zips=zips, **fields))]


DEPTH = Axis(name="depth", values=(2, 4))
ATTENTION = Axis(name="attention", values=("self", "reattention"))


@settings(max_examples=50)
@given(contents())
def test_rows_come_in_the_order_of_the_spec_and_no_two_are_equal(content: dict[str, Any]) -> None:
    rows = [combination.rows for combination in Combinations(load(content))]
    assert rows == sorted(set(rows))


def test_axes_without_conditions_multiply() -> None:
    rows = rows_of(
        DEPTH, ATTENTION, zips=((Axis(name="lr", values=(0.1, 0.2, 0.3)), Axis(name="mixup", values=(0, 0, 1))),)
    )
    assert rows == list(itertools.product(range(2), range(2), range(3)))


def test_no_axes_are_one_combination() -> None:
    assert rows_of() == [()]


def test_an_option_applies_where_its_attention_does() -> None:
    assert rows_of(ATTENTION, Axis(name="reattention_last", values=(1, 2))) == [(0, NO_ROW), (1, 0), (1, 1)]


def test_conditions_may_look_at_axes_that_follow_and_at_conditional_ones() -> None:
    mixup = Axis(name="mixup", values=(0.1, 0.2), when={"cutmix": (0.5,)})
    cutmix = Axis(name="cutmix", values=(0.4, 0.5), when={"depth": (4,)})
    assert rows_of(mixup, cutmix, DEPTH) == [(NO_ROW, NO_ROW, 0), (NO_ROW, 0, 1), (0, 1, 1), (1, 1, 1)]


@pytest.mark.parametrize(
    ("when", "applies"),
    [
        ({"mlp_ratio": (4.0,)}, True),
        ({"mlp_ratio": (3.0, 2.0)}, False),
        ({"img_size": (8,)}, True),
        ({"img_size": (32,)}, False),
        ({"reattention_norm": (None,)}, True),
        ({"epochs": (5,)}, True),
    ],
)
def test_conditions_see_sections_defaults_and_the_catalog(when: dict[str, Any], applies: bool) -> None:
    depth = Axis(name="depth", values=(2,), when=when)
    rows = rows_of(depth, data={"name": "digits"}, train={"epochs": 5})
    assert rows == [(0,)] if applies else [(NO_ROW,)]


def test_a_circle_of_conditions_is_refused() -> None:
    with pytest.raises(CircleError, match="the condition of mixup depends on mixup itself"):
        rows_of(
            Axis(name="mixup", values=(0.1,), when={"cutmix": (0.5,)}),
            Axis(name="cutmix", values=(0.5,), when={"mixup": (0.1,)}),
        )


def test_the_value_to_blame_is_that_of_an_axis_that_applies_then_of_a_section() -> None:
    depth = Axis(name="depth", values=(2, 4), path=("axes", "depth"))
    mixup = Axis(name="mixup", values=(0.1,), when={"depth": (4,)}, path=("axes", "mixup", "values"))
    combinations = Combinations(SweepSpec(name="s", axes=(depth, mixup), model={"embed_dim": 8}))
    assert combination_path(combinations, {0: 1}, ["embed_dim", "depth"]) == ("axes", "depth", 1)
    assert combination_path(combinations, {0: 1}, ["mixup", "embed_dim"]) == ("model", "embed_dim")
    assert combination_path(combinations, {0: 0, 1: NO_ROW}, ["mixup"]) == ("axes", "mixup", "values")
    assert combination_path(combinations, {}, ["num_heads"]) == ()


def test_a_condition_holds_when_all_its_fields_do() -> None:
    assert holds({}, {})
    assert holds({"depth": (2, 4), "lr": (0.1,)}, {"depth": 4, "lr": 0.1})
    assert not holds({"depth": (2, 4), "lr": (0.1,)}, {"depth": 4, "lr": 0.2})


def test_sources_are_what_decides_a_field_that_is_not_given() -> None:
    assert sources_of(["depth"]) == {"depth"}
    assert sources_of(["reattention_last", "img_size"]) == {"reattention_last", "img_size", "attention", "name"}
    assert option_owners("reattention_norm") == ("reattention",)
    assert {"reattention", "mix_only", "centre_only"} < set(option_owners("reattention_last"))
