from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import DataError
from orchestrator.training.split import stratified_share

counts_of_labels = st.lists(st.integers(2, 60), min_size=1, max_size=12)
fractions = st.floats(0.01, 0.99)


def labels_of(counts: list[int]) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(len(counts)).permutation(labels)


@given(counts_of_labels, fractions)
def test_the_two_parts_are_disjoint_and_cover_every_row(counts: list[int], fraction: float) -> None:
    labels = labels_of(counts)
    share = stratified_share(labels, fraction, "val")
    assert sorted([*share.kept, *share.held_out]) == list(range(len(labels)))
    assert (np.diff(share.kept) > 0).all()
    assert (np.diff(share.held_out) > 0).all()


@given(counts_of_labels, fractions)
def test_every_label_gives_its_share_to_within_one_row_and_stands_in_both_parts(
    counts: list[int], fraction: float
) -> None:
    labels = labels_of(counts)
    share = stratified_share(labels, fraction, "val")
    held_out = np.bincount(labels[share.held_out], minlength=len(counts))
    assert (np.abs(held_out - np.array(counts) * fraction) <= 1).all()
    assert (held_out >= 1).all()
    assert (held_out < np.array(counts)).all()


@given(st.lists(st.integers(20, 60), min_size=1, max_size=12), st.floats(0.1, 0.9))
def test_the_held_out_rows_add_up_to_the_rounded_share_of_all(counts: list[int], fraction: float) -> None:
    share = stratified_share(labels_of(counts), fraction, "val")
    assert len(share.held_out) == round(sum(counts) * fraction)


def test_the_draw_is_the_one_of_every_version() -> None:
    share = stratified_share(np.arange(40) % 4, 0.25, "val")
    assert share.held_out.tolist() == [4, 6, 9, 13, 19, 24, 29, 31, 34, 36]


def test_shares_of_two_purposes_differ() -> None:
    labels = np.arange(400) % 4
    assert (
        stratified_share(labels, 0.5, "val").held_out.tolist()
        != stratified_share(labels, 0.5, "test").held_out.tolist()
    )


def test_a_label_with_one_image_is_named() -> None:
    with pytest.raises(
        DataError, match=r"^the dataset: label 7 has only one image, too few to hold out a share of 0\.1 for val; add"
    ):
        stratified_share(np.array([3, 3, 7, 3]), 0.1, "val")
