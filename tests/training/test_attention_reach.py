from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from orchestrator.training.attention_reach import patch_distances, reach_totals


def reach(map_NN: Tensor, grid: tuple[int, int] = (2, 2), patch: int = 4) -> dict[str, float]:
    """Of one block, image and head."""
    distances = patch_distances(grid, (patch, patch))
    totals = reach_totals(map_NN[None, None, None], torch.ones(1).double(), distances)
    return {name: float((total / count)[0, 0]) for name, (total, count) in totals.items()}


def test_uniform_attention_has_entropy_log_n_and_the_mean_distance() -> None:
    found = reach(torch.full((5, 5), 0.2))
    assert math.isclose(found["attention_entropy"], math.log(5), rel_tol=1e-7)
    assert math.isclose(found["attention_distance"], (0 + 4 + 4 + 4 * math.sqrt(2)) / 4, rel_tol=1e-7)


def test_attention_to_oneself_has_entropy_and_distance_zero() -> None:
    found = reach(torch.eye(5))
    assert found == {"attention_entropy": 0.0, "attention_distance": 0.0}


def test_what_goes_to_the_class_token_does_not_shorten_the_distance() -> None:
    map_NN = torch.zeros(5, 5)
    map_NN[:, 0], map_NN[:, 4] = 0.5, 0.5  # half to the class token, half to the last patch
    expected = (4 * math.sqrt(2) + 4 + 4 + 0) / 4
    assert math.isclose(reach(map_NN)["attention_distance"], expected, rel_tol=1e-12)


def test_distances_are_in_pixels_between_patches_row_by_row() -> None:
    found = patch_distances((2, 3), (4, 8))
    assert found.shape == (6, 6)
    np.testing.assert_allclose(found[0], [0, 8, 16, 4, math.hypot(4, 8), math.hypot(4, 16)])


def test_a_block_without_a_map_is_counted_nowhere() -> None:
    maps = torch.stack([torch.full((2, 3, 5, 5), 0.2), torch.zeros(2, 3, 5, 5)])
    totals = reach_totals(maps, torch.tensor([1.0, 0.0]).double(), None)
    assert totals.keys() == {"attention_entropy"}
    assert totals["attention_entropy"][1].tolist() == [[2.0], [0.0]]
