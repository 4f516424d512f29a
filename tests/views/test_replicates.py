"""What may be a cell's scores, and that bits and accuracies say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.views.replicates import score_images, score_seeds

BITS = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=1, max_size=5)
)


@given(bits=BITS)
def test_accuracies_are_the_shares_of_right_images(bits: list[list[bool]]) -> None:
    cell = score_images(bits)
    assert cell.accs.tolist() == pytest.approx([sum(row) / len(row) for row in bits])
    assert cell.mean == pytest.approx(np.mean(bits))
    assert (cell.num_seeds, cell.num_images) == np.shape(bits)


def test_rows_are_chosen_by_seed_and_not_by_place() -> None:
    cell = score_images([[1, 0], [1, 1], [0, 0]], seeds=[7, 3, 5], test_set="a")
    assert cell.only([5, 7]).accs.tolist() == [0.0, 0.5]
    assert cell.only([5, 7]).seeds == (5, 7)
    assert cell.only([3]).test_set == "a"


def test_without_images_only_the_accuracies_are_left() -> None:
    cell = score_images([[1, 0], [1, 1]]).without_images()
    assert (cell.num_images, cell.accs.tolist()) == (None, [0.5, 1.0])


@pytest.mark.parametrize("bits", [[], [[]], [[0, 2]], [0, 1], [[[1]]]], ids=["none", "empty", "two", "row", "cube"])
def test_what_is_no_matrix_of_bits_is_refused(bits: list[int]) -> None:
    with pytest.raises(ValueError, match="is_correct"):
        score_images(bits)


@pytest.mark.parametrize("accs", [[], [math.nan], [0.9, math.inf]], ids=["none", "nan", "infinite"])
def test_accuracies_that_are_none_are_refused(accs: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        score_seeds(accs)


@pytest.mark.parametrize("seeds", [[0], [1, 1], [0, 1, 2]])
def test_seeds_must_name_the_rows(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="distinct seeds"):
        score_seeds([0.9, 0.8], seeds)
