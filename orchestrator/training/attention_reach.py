"""The softmax maps of all blocks for one batch in; sums of the entropy of their rows and of how far they reach out.

Shape suffixes: L blocks, B images, H heads, N tokens, P patches.
"""

from __future__ import annotations

import torch
from torch import Tensor


def patch_distances(grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """Distances between the centres of all patches in pixels, float64 [P,P]; patches row by row."""
    rows, columns = (
        torch.arange(count, dtype=torch.float64) * side for count, side in zip(grid, patch_size, strict=True)
    )
    places = torch.cartesian_prod(rows, columns)
    return torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")


def reach_totals(
    softmax_LBHNN: Tensor, has_map_L: Tensor, distances_PP: Tensor | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Totals over the images of one batch, [L,H], and their number, [L,1].

    `attention_entropy` in nats, -sum_j A_ij log A_ij, mean over all queries i; `attention_distance` in pixels,
    sum_j A_ij d_ij over patches, rows and columns of other tokens dropped and rows normalised again, mean over i.

    Args:
        softmax_LBHNN: a block without a map is all zero.
        has_map_L: 1 for a block with a map, 0 for one without, float64.
        distances_PP: of `patch_distances`; None where patches lie on no grid.
    """
    count_L1 = has_map_L[:, None] * softmax_LBHNN.shape[1]
    entropy, distance = [], []
    for map_BHNN in softmax_LBHNN:  # a block at a time, because float64 copies of all would be large
        values = map_BHNN.double()
        entropy.append(torch.special.entr(values).sum(dim=3).mean(dim=2).sum(dim=0))
        if distances_PP is not None:
            distance.append(_distance(values, distances_PP))
    totals = {"attention_entropy": (torch.stack(entropy), count_L1)}
    if distances_PP is not None:
        totals["attention_distance"] = (torch.stack(distance), count_L1)
    return totals


def _distance(map_BHNN: Tensor, distances_PP: Tensor) -> Tensor:
    num_patches = len(distances_PP)
    patches_BHPP = map_BHNN[:, :, -num_patches:, -num_patches:]
    share_BHP = patches_BHPP.sum(dim=3)
    reach_BHP = (patches_BHPP * distances_PP).sum(dim=3) / share_BHP.clamp_min(1e-300)
    return reach_BHP.mean(dim=2).sum(dim=0)
