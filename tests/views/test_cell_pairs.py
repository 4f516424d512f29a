"""Which cells of two sweeps are the same, and what has changed in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.results import ResultsDir
from orchestrator.views.cell_pairs import Pairing, name_cell, pair_cells, read_side
from tests.views.scored_sweep import build_scored, drawn
from tests.views.sweep_builder import build_sweep

DEPTHS = [{"depth": 12}, {"depth": 16}]


def pairing(root: Path, a: Any, b: Any) -> Pairing:
    """Of two sweeps given as (cells, keyword arguments)."""
    for name, (cells, settings) in (("a", a), ("b", b)):
        build_scored(root / name, name, cells, [0, 1], drawn(0.8), **settings)
    return pair_cells(read_side(ResultsDir(root / "a"), "a"), read_side(ResultsDir(root / "b"), "b"))


def test_cells_with_equal_axes_are_shared_and_others_are_named(tmp_path: Path) -> None:
    found = pairing(tmp_path, (DEPTHS, {}), ([{"depth": 16}, {"depth": 24}], {}))
    assert [pair.label for pair in found.shared] == ["depth 16"]
    assert [cell.axes for cell in found.only_a] == [{"depth": 12}]
    assert [cell.axes for cell in found.only_b] == [{"depth": 24}]
    assert found.shared[0].changes == ()
    assert (found.shared[0].a.num_seeds, found.shared[0].b.num_seeds) == (2, 2)


def test_the_order_of_axes_and_the_kind_of_a_number_pair_nothing_apart(tmp_path: Path) -> None:
    a = [{"depth": 12, "lr": 1.0}]
    found = pairing(tmp_path, (a, {}), ([{"lr": 1, "depth": 12}], {}))
    assert (len(found.shared), found.only_a, found.only_b) == (1, (), ())


def test_an_axis_of_one_sweep_is_looked_up_in_the_others_configuration(tmp_path: Path) -> None:
    wide = [{"depth": 12, "embed_dim": 48}, {"depth": 12, "embed_dim": 96}]
    found = pairing(tmp_path, ([{"depth": 12}], {}), (wide, {}))
    assert [pair.axes for pair in found.shared] == [{"depth": 12, "embed_dim": 48}]
    assert [cell.axes["embed_dim"] for cell in found.only_b] == [96]


def test_a_changed_configuration_is_named_field_by_field(tmp_path: Path) -> None:
    found = pairing(tmp_path, (DEPTHS, {"fixed": {"lr": 1e-3}}), (DEPTHS, {"fixed": {"lr": 2e-3, "epochs": 8}}))
    assert {pair.changes for pair in found.shared} == {
        ("config: train.epochs 4 -> 8", "config: train.lr 0.001 -> 0.002")
    }


def test_changed_code_and_data_are_named(tmp_path: Path) -> None:
    new = {"code_fingerprint": "newer", "data_fingerprint": "other"}
    found = pairing(tmp_path, (DEPTHS, {}), (DEPTHS, new))
    assert found.shared[0].changes == ("code: fingerprint c0de -> newer", "data: fingerprint da7a -> other")


def test_a_sweep_that_never_started_pairs_by_its_index(tmp_path: Path) -> None:
    build_sweep(tmp_path / "a", {"depth": [12, 16]}, name="a")
    build_scored(tmp_path / "b", "b", DEPTHS, [0], drawn(0.8))
    side = read_side(ResultsDir(tmp_path / "a"), "a")
    found = pair_cells(side, read_side(ResultsDir(tmp_path / "b"), "b"))
    assert [pair.a.replicates for pair in found.shared] == [None, None]
    assert (side.num_trials, side.num_ended) == (6, 0)
    assert found.shared[0].changes == ()


@pytest.mark.parametrize(
    ("axes", "name"),
    [
        ({"depth": 12, "attention": "my.module:Own"}, "depth 12, Own"),
        ({"model.depth": 12, "lr": 1e-3, "reattention_last": None}, "depth 12, lr 0.001"),
    ],
)
def test_a_cell_is_named_by_its_axes(axes: dict[str, Any], name: str) -> None:
    assert name_cell(axes) == name
