"""Of too many curves whole groups are drawn, so that each attention has its reference beside it."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.views.curve_choice import (
    FEW_DRAWN_CURVES,
    FEW_GROUPS,
    MAX_DRAWN_CURVES,
    choose_curves,
    curves_of_a_figure,
)

Parts = dict[str, dict[str, str]]


def grid(**axes: list[str]) -> Parts:
    """Curves by label, the first axis slowest, as a sweep orders them."""
    found = [dict(zip(axes, texts, strict=True)) for texts in product(*axes.values())]
    return {", ".join(parts.values()): parts for parts in found}


RATES = [f"lr {number}" for number in range(25)]


def test_up_to_the_limit_all_are_drawn() -> None:
    curves = grid(attention=["self", "reattention"], lr=RATES[:18])
    assert len(curves) == MAX_DRAWN_CURVES
    assert curves_of_a_figure(curves) == list(curves)


def test_of_very_many_whole_groups_are_drawn_in_the_order_of_the_sweep() -> None:
    curves = grid(attention=["self", "reattention", "mix_only", "batchnorm_only", "talking_heads"], lr=RATES)
    assert curves_of_a_figure(curves) == [label for label in curves if label.endswith((", lr 0", ", lr 1"))]


def test_an_axis_that_only_some_curves_have_does_not_part_them_from_the_others() -> None:
    plain = grid(attention=["self"], lr=RATES)
    mixing = grid(attention=["reattention"], lr=RATES, theta=["random", "identity"])
    assert choose_curves(plain | mixing, 5) == [
        "self, lr 0",
        "reattention, lr 0, random",
        "reattention, lr 0, identity",
    ]


def test_without_an_attention_axis_the_first_that_varies_is_compared() -> None:
    curves = grid(data=["digits"], embed_dim=["16", "24", "32"], lr=RATES)
    assert {label.split(", ")[1] for label in choose_curves(curves, 7)} == {"16", "24", "32"}
    assert len(choose_curves(curves, 7)) == 6


def test_a_group_larger_than_the_limit_is_cut() -> None:
    curves = grid(attention=[f"attention {number}" for number in range(50)])
    assert choose_curves(curves, 12) == list(curves)[:12]


def test_groups_are_few_because_each_takes_a_panel() -> None:
    curves = grid(attention=["self", "reattention"], lr=RATES)
    assert len(curves_of_a_figure(curves)) == 2 * FEW_GROUPS


@given(
    nums=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6)),
    limit=st.integers(1, FEW_DRAWN_CURVES),
)
def test_never_more_than_the_limit_never_none_and_in_order(nums: tuple[int, int, int], limit: int) -> None:
    axes = zip(("lr", "attention", "embed_dim"), nums, strict=True)
    curves = grid(**{axis: [f"{axis} {number}" for number in range(num)] for axis, num in axes})
    shown = choose_curves(curves, limit)
    assert 1 <= len(shown) <= limit
    assert shown == [label for label in curves if label in shown]
