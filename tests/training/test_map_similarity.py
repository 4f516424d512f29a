from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.training import map_similarity
from orchestrator.training.map_similarity import map_totals


def softmax_maps(seed: int, *shape: int, spread: float = 1.0) -> Tensor:
    logits = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * spread
    return logits.softmax(dim=-1)


def means(maps_LBHNN: Tensor, num_prefix_tokens: int = 1) -> dict[str, np.ndarray]:
    totals = map_totals(maps_LBHNN, num_prefix_tokens)
    return {name: (total / count).numpy() for name, (total, count) in totals.items()}


def test_identical_maps_give_one() -> None:
    one = softmax_maps(0, 1, 5, 3, 7, 7)
    found = means(one.expand(4, -1, -1, -1, -1))
    for name in ("class.raw", "class.centred", "patch.raw", "patch.centred"):
        np.testing.assert_allclose(found[name], 1.0, rtol=1e-12)
    np.testing.assert_array_equal(found["share"][1:], 1.0)
    np.testing.assert_array_equal(found["share_nearest"][1:], 1.0)


@pytest.mark.parametrize(("spread", "expected"), [(0.5, 0.79), (1.0, 0.45), (2.0, 0.14), (4.0, 0.05)])
def test_independent_maps_of_equal_entropy_give_the_shuffled_baseline(spread: float, expected: float) -> None:
    """And at N = 65 what logits of this spread are known to give: raw M reads sharpness."""
    found = means(softmax_maps(1, 3, 12, 4, 65, 65, spread=spread))
    off_diagonal = ~np.eye(3, dtype=bool)
    for columns in ("class", "patch"):
        raw, shuffled = (found[f"{columns}.{how}"][off_diagonal] for how in ("raw", "shuffled"))
        np.testing.assert_allclose(raw, shuffled, atol=0.015 if columns == "patch" else 0.04)
    np.testing.assert_allclose(found["patch.shuffled"][off_diagonal], expected, atol=0.02)
    np.testing.assert_allclose(found["patch.centred"][off_diagonal], 0.0, atol=0.01)


def test_maps_that_are_the_same_for_every_image_are_no_more_similar_than_their_baseline() -> None:
    found = means(softmax_maps(2, 3, 1, 2, 9, 9).expand(-1, 6, -1, -1, -1))
    np.testing.assert_allclose(found["patch.raw"], found["patch.shuffled"], rtol=1e-12)
    np.testing.assert_allclose(found["image.raw"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(found["image.centred"], 1.0, rtol=1e-12)


def test_equal_heads_have_head_similarity_one() -> None:
    found = means(softmax_maps(3, 2, 4, 1, 9, 9).expand(-1, -1, 5, -1, -1))
    np.testing.assert_allclose(found["head.raw"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(found["head.centred"], 1.0, rtol=1e-12)


def test_a_single_head_or_image_has_nobody_to_be_similar_to() -> None:
    found = means(softmax_maps(4, 2, 1, 1, 9, 9))
    for name in ("head.raw", "head.centred", "image.raw", "patch.shuffled"):
        assert np.isnan(found[name]).all(), name


def test_columns_are_compared_and_not_rows() -> None:
    maps = softmax_maps(5, 1, 3, 2, 9, 9).repeat(2, 1, 1, 1, 1)
    rescaled = torch.rand(9, generator=torch.Generator().manual_seed(6)) + 0.5
    maps[1] = maps[1] * rescaled  # every key by its own factor: columns keep their direction, rows do not
    np.testing.assert_allclose(means(maps)["patch.raw"], 1.0, rtol=1e-6)


def test_heads_in_parts_give_what_all_at_once_give(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = softmax_maps(7, 3, 4, 5, 6, 6)
    whole = means(maps)
    monkeypatch.setattr(map_similarity, "MAX_COLUMN_VALUES", 3 * 4 * 36 * 2)
    parts = means(maps)
    assert whole.keys() == parts.keys()
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_columns_without_a_direction_are_left_out_on_both_sides() -> None:
    maps = softmax_maps(8, 3, 4, 2, 6, 6)
    without = maps.clone()
    without[1, 0, 0, :, 2] = 0.0
    kept = torch.ones(4, 2, 6, dtype=torch.bool)
    kept[0, 0, 2] = kept[:, :, 0] = False  # the class token's columns are no patches
    a, b = (maps[block].double().permute(0, 1, 3, 2)[kept] for block in (0, 1))
    expected = torch.nn.functional.cosine_similarity(a, b).mean()
    np.testing.assert_allclose(means(without)["patch.raw"][0, 1], expected, rtol=1e-12)
    uniform = torch.full((2, 3, 2, 6, 6), 1 / 6)
    found = means(uniform)
    np.testing.assert_allclose(found["patch.raw"], 1.0, rtol=1e-12)
    assert np.isnan(found["patch.centred"]).all()


def test_the_first_blocks_have_fewer_than_three_before_them() -> None:
    one, other = softmax_maps(9, 1, 4, 2, 9, 9), softmax_maps(10, 1, 4, 2, 9, 9, spread=3.0)
    found = means(torch.cat([other, one, one, one, one]))
    assert np.isnan(found["share"][0])
    assert (found["share"][2:] == 1.0).all()
    assert (found["share_nearest"][1:4] < 0.9).all()
    assert found["share_nearest"][4] == 1.0


def test_without_a_class_token_every_column_is_a_patch() -> None:
    found = means(softmax_maps(11, 2, 3, 2, 4, 4), num_prefix_tokens=0)
    assert np.isnan(found["class.raw"]).all()
    np.testing.assert_allclose(np.diagonal(found["patch.raw"]), 1.0, rtol=1e-12)
