"""Names of cells and curves: depth is left out, what follows depth is joined, texts stay apart."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.views.curves import field_name, name_curves, value_text


def grid(**axes: list[Any]) -> list[dict[str, Any]]:
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def test_a_curve_is_named_by_every_axis_but_depth() -> None:
    names = name_curves(grid(depth=[12, 24], attention=["self", "reattention"], embed_dim=[48, 96]))
    assert names[0].cell == "depth 12, self, embed_dim 48"
    assert [name.curve for name in names[:4]] == [
        "self, embed_dim 48",
        "self, embed_dim 96",
        "reattention, embed_dim 48",
        "reattention, embed_dim 96",
    ]
    assert [name.curve for name in names[4:]] == [name.curve for name in names[:4]]


def test_an_axis_that_does_not_apply_is_not_named() -> None:
    cells = [{"attention": "self", "reattention_last": None}, {"attention": "reattention", "reattention_last": 4}]
    assert [name.curve for name in name_curves(cells)] == ["self", "reattention, reattention_last 4"]


def test_a_width_zipped_with_depth_leaves_one_curve() -> None:
    cells = [{"depth": depth, "embed_dim": width} for depth, width in ((4, 96), (8, 64), (16, 48))]
    names = name_curves(cells)
    assert {name.curve for name in names} == {"embed_dim by depth"}
    assert [name.cell for name in names] == ["depth 4, embed_dim 96", "depth 8, embed_dim 64", "depth 16, embed_dim 48"]


def test_matched_widths_are_one_curve_beside_the_constant_one() -> None:
    cells = [{"depth": depth, "embed_dim": width} for depth, width in ((4, 48), (4, 136), (8, 48), (8, 96), (32, 48))]
    curves = [name.curve for name in name_curves(cells)]
    assert curves == ["embed_dim 48", "embed_dim by depth", "embed_dim 48", "embed_dim by depth", "embed_dim 48"]


def test_texts_that_follow_depth_stay_curves_of_their_own() -> None:
    cells = [{"depth": 12, "attention": "self"}, {"depth": 24, "attention": "reattention"}]
    assert [name.curve for name in name_curves(cells)] == ["self", "reattention"]


def test_classes_of_one_name_keep_their_modules() -> None:
    cells = [{"attention": name} for name in ("a.x:Mix", "b.y:Mix", "c.z:Other", "self")]
    assert [name.curve for name in name_curves(cells)] == ["a.x:Mix", "b.y:Mix", "Other", "self"]


@given(
    depths=st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True),
    widths=st.lists(st.sampled_from([32, 48, 64, 96]), min_size=1, max_size=3, unique=True),
    rates=st.lists(st.floats(1e-5, 1e-1), min_size=1, max_size=3, unique=True),
)
def test_no_two_cells_of_a_full_grid_share_their_curve_and_depth(
    depths: list[int], widths: list[int], rates: list[float]
) -> None:
    cells = grid(depth=depths, embed_dim=widths, lr=rates)
    places = [(name.curve, cell["depth"]) for name, cell in zip(name_curves(cells), cells, strict=True)]
    assert len(set(places)) == len(cells)
    assert len({name.cell for name in name_curves(cells)}) == len(cells)


def test_no_cells_have_no_names() -> None:
    assert name_curves([]) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (12, "12"),
        (1e-3, "0.001"),
        ("none", "none"),
        ({"match_params": {"depth": 32}}, "{match_params: {depth: 32}}"),
    ],
)
def test_a_value_reads_as_in_the_spec(value: Any, text: str) -> None:
    assert value_text(value) == text


def test_a_dotted_axis_is_called_by_its_field() -> None:
    assert (field_name("model.depth"), field_name("depth")) == ("depth", "depth")
    assert name_curves([{"model.depth": 3, "train.lr": 0.1}])[0].curve == "lr 0.1"
