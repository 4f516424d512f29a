"""Two sweeps in; the comparison B - A out, cell by cell, with intervals, corrected p-values and the saturation of both.

Seeds pair by value and images where the test sets agree; disjoint seeds still share their images; without predictions
Student's t over seeds is left (`variance.delta` says which). The cells of one comparison are one family: their spreads
are moderated where every cell has at least 6 seeds (`moderation`), their p-values are Holm's. A cell is *significant*
where that p is below 0.05.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.results import ResultsDir
from orchestrator.views.arms import Arm, find_arms
from orchestrator.views.cell_pairs import CellPair, Pairing, SweepCell, SweepSide, name_cell, pair_cells, read_side
from orchestrator.views.moderation import moderate
from orchestrator.views.stats import (
    DEFAULT_MARGIN,
    Estimate,
    Improvement,
    Replicates,
    SaturationAnswer,
    SignFlip,
    answer_saturation,
    delta,
    holm,
    probability_of_improvement,
    sign_flip,
)

SIGNIFICANT = 0.05
"""Holm-corrected p below which a delta counts as found."""


@dataclass(frozen=True)
class CellDelta:
    """B - A in one cell that both have measured; in shares, not points."""

    estimate: Estimate
    holm_p: float | None
    """None where a side has a single seed."""
    sign_flip: SignFlip | None
    """Over the seeds that both have; None for fewer than two."""
    improvement: Improvement
    """How often a run of B beats a run of A."""

    @property
    def is_significant(self) -> bool:
        return self.holm_p is not None and self.holm_p < SIGNIFICANT


@dataclass(frozen=True, eq=False)
class ComparedCell:
    """A shared cell; `delta` is None where a side has nothing finished."""

    pair: CellPair
    delta: CellDelta | None


@dataclass(frozen=True, eq=False)
class CurvePair:
    """One curve over depth in both sweeps; an answer is None where that side has fewer than two depths."""

    arm: Arm
    a: SaturationAnswer | None
    b: SaturationAnswer | None


@dataclass(frozen=True, eq=False)
class SweepComparison:
    """All that `orch compare` says."""

    a: SweepSide
    b: SweepSide
    cells: tuple[ComparedCell, ...]
    only_a: tuple[SweepCell, ...]
    only_b: tuple[SweepCell, ...]
    curves: tuple[CurvePair, ...]

    @property
    def judged(self) -> list[tuple[CellPair, CellDelta]]:
        """Cells with a corrected p."""
        found = [(cell.pair, cell.delta) for cell in self.cells if cell.delta is not None]
        return [(pair, known) for pair, known in found if known.holm_p is not None]

    def worse(self, points: float) -> list[tuple[CellPair, CellDelta]]:
        """Cells where B is significantly worse, and by more than `points` percent points."""
        limit = -points / 100.0
        return [(pair, found) for pair, found in self.judged if found.is_significant and found.estimate.value < limit]


def compare_sweeps(
    a: tuple[ResultsDir, str], b: tuple[ResultsDir, str], *, margin: float = DEFAULT_MARGIN
) -> SweepComparison:
    """B against A; sweeps that are not finished are compared as far as they are.

    Raises:
        UsageError: there is no such sweep under its root.
        ResultsError: an index is damaged.
    """
    side_a, side_b = read_side(*a), read_side(*b)
    pairing = pair_cells(side_a, side_b)
    return SweepComparison(
        a=side_a,
        b=side_b,
        cells=_compare_cells(pairing),
        only_a=pairing.only_a,
        only_b=pairing.only_b,
        curves=_compare_curves(side_a, side_b, margin),
    )


def compare_cells(pairs: Sequence[tuple[Replicates, Replicates]]) -> list[CellDelta]:
    """B - A for each pair (a, b) of one family of cells."""
    estimates = moderate([delta(b, a) for a, b in pairs])
    adjusted = holm([found.p for found in estimates])
    return [
        CellDelta(found, p, _flip(a, b), probability_of_improvement(list(b.accs), list(a.accs)))
        for found, p, (a, b) in zip(estimates, adjusted, pairs, strict=True)
    ]


def _compare_cells(pairing: Pairing) -> tuple[ComparedCell, ...]:
    measured = [
        (number, pair.a.replicates, pair.b.replicates)
        for number, pair in enumerate(pairing.shared)
        if pair.a.replicates is not None and pair.b.replicates is not None
    ]
    deltas = compare_cells([(a, b) for _, a, b in measured])
    known = {number: found for (number, _, _), found in zip(measured, deltas, strict=True)}
    return tuple(ComparedCell(pair, known.get(number)) for number, pair in enumerate(pairing.shared))


def _flip(a: Replicates, b: Replicates) -> SignFlip | None:
    shared = sorted(set(a.seeds) & set(b.seeds))
    return sign_flip(list(b.only(shared).accs - a.only(shared).accs)) if len(shared) > 1 else None


def _compare_curves(a: SweepSide, b: SweepSide, margin: float) -> tuple[CurvePair, ...]:
    """Curves by name, those of A first; a curve that only one sweep has stands alone."""
    arms_a, arms_b = ({arm.curve: arm for arm in _arms(side)} for side in (a, b))
    pairs = []
    for name in dict.fromkeys([*arms_a, *arms_b]):
        answers = [_answer(arms.get(name), margin) for arms in (arms_a, arms_b)]
        if any(answer is not None for answer in answers):
            pairs.append(CurvePair(arms_a.get(name) or arms_b[name], answers[0], answers[1]))
    return tuple(pairs)


def _arms(side: SweepSide) -> list[Arm]:
    scored = {cell.cell_id: cell.replicates for cell in side.cells if cell.replicates is not None}
    return find_arms(side.table, scored)


def _answer(arm: Arm | None, margin: float) -> SaturationAnswer | None:
    if arm is None or len(arm.cells) < 2:
        return None
    return answer_saturation(arm.cells, margin=margin, num_diverged=arm.num_diverged)


def to_document(found: SweepComparison) -> dict[str, Any]:
    """Everything as plain JSON values; accuracies and deltas in shares, 0..1."""
    return {
        "a": _describe(found.a),
        "b": _describe(found.b),
        "delta": "b - a",
        "cells": [_cell_document(cell) for cell in found.cells],
        "only_in_a": [dict(cell.axes) for cell in found.only_a],
        "only_in_b": [dict(cell.axes) for cell in found.only_b],
        "saturation": [
            {"curve": pair.arm.curve, "a": _answer_document(pair.a), "b": _answer_document(pair.b)}
            for pair in found.curves
        ],
    }


def _describe(side: SweepSide) -> dict[str, Any]:
    return {
        "results": str(side.results.root),
        "sweep": side.name,
        "num_trials": side.num_trials,
        "num_ended": side.num_ended,
        "is_finished": side.num_ended == side.num_trials,
    }


def _cell_document(cell: ComparedCell) -> dict[str, Any]:
    pair, found = cell.pair, cell.delta
    document: dict[str, Any] = {"cell": name_cell(pair.axes), "axes": dict(pair.axes), "changes": list(pair.changes)}
    for name, side in (("a", pair.a), ("b", pair.b)):
        acc = None if side.replicates is None else side.replicates.mean
        document[name] = {"acc": acc, "num_seeds": side.num_seeds, "num_diverged": side.num_diverged}
    document["num_same_trials"] = len(pair.a.trial_ids & pair.b.trial_ids)
    if found is None:
        return {**document, "delta": None}
    return {**document, "delta": {**dataclasses.asdict(found), "is_significant": found.is_significant}}


def _answer_document(answer: SaturationAnswer | None) -> Mapping[str, Any] | None:
    return None if answer is None else dataclasses.asdict(answer)
