"""The attention maps of all blocks for one batch in; sums of the cosines between their columns out.

A column is what one input token gives to every output: the vector over queries of DeepViT's similarity M (arXiv
2103.11886, eq. 2). Columns are normalised once, and one product of matrices compares every two blocks. A column
without a direction (all zero, or constant and then centred) is left out of the means, on both sides.
Shape suffixes: L blocks, B images, H heads, Q queries, T columns, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.probe_catalog import NUM_NEAREST, SIMILAR_ABOVE

MAX_COLUMN_VALUES = 2**19
"""Numbers of maps that are compared at a time, over heads; small enough to stay in a processor's cache."""

NO_DIRECTION = 1e-6
"""A centred column shorter than this share of the column is rounding of the float32 softmax."""


@dataclass(frozen=True)
class UnitColumns:
    """Columns of some heads, of length 1, or 0 where a column has no direction."""

    unit_LBHQT: Tensor
    has_direction_LBHT: Tensor
    """1 or 0, float64."""


def map_totals(maps_LBHNN: Tensor, num_prefix_tokens: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Totals and counts over one batch, by name.

    `class.raw`, `class.centred`, `class.shuffled`, the same for `patch`: [L,L], between blocks; shuffled is the mean
    over all pairs of different images of the batch. `image.raw`, `image.centred`: [L], between different images.
    `head.raw`, `head.centred`: [L], between different heads. `share` and `share_nearest`: [L], of the columns whose raw
    cosine with the block before, and with each of up to three blocks before, is above 0.9; the first block has none.

    Args:
        maps_LBHNN: [L,B,H,query,key]; a block without a map is all zero.
        num_prefix_tokens: class token, the first column; the others are patches.
    """
    totals = _Totals(num_prefix_tokens)
    for part_LBHQT in _head_chunks(maps_LBHNN):
        values = part_LBHQT.double()
        raw = _raw_columns(values)
        totals.add_pairs("raw", raw, shuffled=True)
        totals.add_shares(raw)
        totals.add_pairs("centred", _centred_columns(values), shuffled=False)
    return totals.finish()


def _head_chunks(maps_LBHNN: Tensor) -> Iterator[Tensor]:
    num_values = maps_LBHNN.numel() // maps_LBHNN.shape[2]
    return iter(maps_LBHNN.split(max(1, MAX_COLUMN_VALUES // num_values), dim=2))


def _raw_columns(values_LBHQT: Tensor) -> UnitColumns:
    norm_LBHT = _norm(values_LBHQT)
    return _unit(values_LBHQT, norm_LBHT, norm_LBHT > 0)


def _centred_columns(values_LBHQT: Tensor) -> UnitColumns:
    norm_LBHT = _norm(values_LBHQT)
    centred_LBHQT = values_LBHQT - values_LBHQT.mean(dim=3, keepdim=True)
    centred_norm_LBHT = _norm(centred_LBHQT)
    return _unit(centred_LBHQT, centred_norm_LBHT, centred_norm_LBHT > NO_DIRECTION * norm_LBHT)


def _norm(values_LBHQT: Tensor) -> Tensor:
    return values_LBHQT.square().sum(dim=3).sqrt()  # torch's vector_norm is several times slower on such strides


def _unit(values_LBHQT: Tensor, norm_LBHT: Tensor, has_direction_LBHT: Tensor) -> UnitColumns:
    factor_LBHT = torch.where(has_direction_LBHT, 1.0 / norm_LBHT, 0.0)
    return UnitColumns(values_LBHQT * factor_LBHT[:, :, :, None], has_direction_LBHT.double())


def _gram(rows: Tensor) -> Tensor:
    """[L,...] to the products of every two blocks, [L,L]."""
    flat = rows.flatten(1)
    return flat @ flat.T


class _Totals:
    """Adds up the chunks of one batch."""

    def __init__(self, num_prefix_tokens: int) -> None:
        self.num_prefix = num_prefix_tokens
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.over_heads: dict[str, tuple[Tensor, Tensor]] = {}

    def add_pairs(self, kind: str, columns: UnitColumns, *, shuffled: bool) -> None:
        """Between blocks, between images, and what is needed for between heads."""
        unit, known = columns.unit_LBHQT, columns.has_direction_LBHT
        pairs, num_pairs = self._by_column_kind(unit, known)
        unit_sum, known_sum = unit.sum(dim=1), known.sum(dim=1)
        every, num_every = self._by_column_kind(unit_sum, known_sum)
        for columns_of in ("class", "patch"):
            self._add(f"{columns_of}.{kind}", pairs[columns_of], num_pairs[columns_of])
            others = every[columns_of] - pairs[columns_of], num_every[columns_of] - num_pairs[columns_of]
            if shuffled:
                self._add(f"{columns_of}.shuffled", *others)
            self._add(f"image.{kind}", others[0].diagonal(), others[1].diagonal())
        self._add_over_heads(kind, unit.sum(dim=2), known.sum(dim=2))

    def add_shares(self, columns: UnitColumns) -> None:
        """How many columns are similar to those of the blocks before."""
        unit, known = columns.unit_LBHQT, columns.has_direction_LBHT > 0
        is_near, is_known = known.clone(), known.clone()
        for distance in range(1, NUM_NEAREST + 1):
            cosine_LBHT = (unit[distance:] * unit[:-distance]).sum(dim=3)
            is_near[distance:] &= cosine_LBHT > SIMILAR_ABOVE
            is_known[distance:] &= known[:-distance]
            if distance == 1:
                self._add_share("share", is_near, is_known)
        self._add_share("share_nearest", is_near, is_known)

    def finish(self) -> dict[str, tuple[Tensor, Tensor]]:
        """All totals, those between heads among them."""
        for kind, (unit_LBQT, known_LBT) in self.over_heads.items():
            norm_L, num_L = unit_LBQT.square().sum(dim=(1, 2, 3)), known_LBT.square().sum(dim=(1, 2))
            same_L = known_LBT.sum(dim=(1, 2))
            self._add(f"head.{kind}", norm_L - same_L, num_L - same_L)
        return self.sums

    def _by_column_kind(self, unit: Tensor, known: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Products of blocks and their number, of the class token's column and of the others."""
        end = self.num_prefix
        totals, own = _gram(unit), _gram(unit[..., :end])
        counts, num_own = _gram(known), _gram(known[..., :end])
        return {"class": own, "patch": totals - own}, {"class": num_own, "patch": counts - num_own}

    def _add_over_heads(self, kind: str, unit_LBQT: Tensor, known_LBT: Tensor) -> None:
        before = self.over_heads.get(kind)
        self.over_heads[kind] = (
            (unit_LBQT, known_LBT) if before is None else (before[0] + unit_LBQT, before[1] + known_LBT)
        )

    def _add_share(self, name: str, is_near_LBHT: Tensor, is_known_LBHT: Tensor) -> None:
        has_previous_L = torch.arange(len(is_near_LBHT), device=is_near_LBHT.device) > 0
        near_L = (is_near_LBHT & is_known_LBHT).sum(dim=(1, 2, 3), dtype=torch.float64)
        known_L = is_known_LBHT.sum(dim=(1, 2, 3), dtype=torch.float64)
        self._add(name, near_L * has_previous_L, known_L * has_previous_L)

    def _add(self, name: str, total: Tensor, count: Tensor) -> None:
        before = self.sums.get(name)
        self.sums[name] = (total, count) if before is None else (before[0] + total, before[1] + count)
