"""The trials of a sweep in; its arms out, each one attention over depth with what its seeds scored; and which arms are
compared with which.

The compared axis is the attention where it varies, else the first other axis that does. Two arms are compared where
every axis that both name agrees, the compared one and depth left out; so an axis that only Re-attention has does not
keep it from self-attention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.views.curves import field_name
from orchestrator.views.forked import in_shares
from orchestrator.views.predictions import score_trials
from orchestrator.views.stats import Replicates
from orchestrator.views.table import averaged_rows, plain_values

LEAST_SHARE = 100
"""Cells that another process must have to score before it is worth its start."""

PLAIN, MIXING = "self", "reattention"
"""The reference of all comparisons, and the second one where there are more than two attentions."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One curve over depth."""

    curve: str
    """Its name in the frames."""
    parts: Mapping[str, str]
    """Axis to text, for each axis that its name tells."""
    cells: Mapping[int, Replicates]
    """Depth to what the finished seeds scored, in increasing depth; cells without a finished seed are absent."""
    num_diverged: int
    """Trials of the arm that diverged: outcomes, in no mean."""

    def part(self, axis: str) -> str:
        """The text of one axis, empty where it does not apply."""
        return self.parts.get(axis, "")


@dataclass(frozen=True)
class Pair:
    """Two arms whose difference a - b is asked for."""

    a: Arm
    b: Arm
    axis: str
    """The axis in which they differ."""

    @property
    def depths(self) -> list[int]:
        """Those at which both have finished seeds."""
        return sorted(set(self.a.cells) & set(self.b.cells))

    @property
    def context(self) -> str:
        """What the two have in common, in words; empty where nothing else varies."""
        shared = [text for axis, text in self.a.parts.items() if axis != self.axis]
        shared += [text for axis, text in self.b.parts.items() if axis != self.axis and text not in shared]
        return ", ".join(shared)


def read_cells(results: ResultsDir, table: pd.DataFrame, test_sets: Mapping[str, str]) -> dict[str, Replicates]:
    """`cell_id` to what its averaged trials scored, by image where every one of them kept its predictions.

    Args:
        test_sets: trial to the name of what it was tested on, as `read_tables` gives it.
    """
    averaged = table[averaged_rows(table)].sort_values("seed", kind="stable")
    cells: dict[str, list[tuple[str, int, float]]] = {str(cell): [] for cell in dict.fromkeys(table["cell_id"])}
    columns = (averaged[name].tolist() for name in ("cell_id", "trial_id", "seed", "test_acc"))
    for cell, *trial in zip(*columns, strict=True):
        cells[cell].append((trial[0], int(trial[1]), float(trial[2])))
    known = [(cell, trials) for cell, trials in cells.items() if trials]

    def score(share: Sequence[tuple[str, list[tuple[str, int, float]]]]) -> list[Replicates]:
        return [score_trials(results, trials, test_sets) for _, trials in share]

    scored = [one for share in in_shares(score, known, least=LEAST_SHARE) for one in share]
    return {cell: one for (cell, _), one in zip(known, scored, strict=True)}


def find_arms(table: pd.DataFrame, cells: Mapping[str, Replicates]) -> list[Arm]:
    """The arms of a `read_table` frame, in the order of its rows; one without a finished seed has no cells."""
    parts: Mapping[str, Mapping[str, str]] = table.attrs.get("curves", {})
    known: dict[str, dict[int, Replicates]] = {str(curve): {} for curve in dict.fromkeys(table["curve"])}
    num_diverged = Counter(table.loc[(table["state"] == State.DIVERGED).fillna(False), "curve"])
    of_cells = table[["curve", "cell_id", "depth"]].drop_duplicates("cell_id")
    for curve, cell, depth in zip(*(plain_values(of_cells[name]) for name in of_cells), strict=True):
        if depth is not None and cell in cells:
            known[str(curve)][int(depth)] = cells[cell]
    return [
        Arm(
            curve=curve,
            parts=parts.get(curve, {}),
            cells=dict(sorted(by_depth.items())),
            num_diverged=num_diverged[curve],
        )
        for curve, by_depth in known.items()
    ]


def compared_axis(arms: Sequence[Arm]) -> str | None:
    """The axis whose values are compared; None where no axis but depth varies."""
    axes = dict.fromkeys(axis for arm in arms for axis in arm.parts)
    in_order = sorted(axes, key=lambda axis: field_name(axis) != "attention")
    return next((axis for axis in in_order if len({arm.part(axis) for arm in arms}) > 1), None)


def choose_pairs(values: Sequence[str]) -> list[tuple[str, str]]:
    """Which values are compared, each pair as (a, b) for a - b: every one against `self`, or the first where `self` is
    absent; where there are more than two and `reattention` is one, also `reattention` against every other. Pairs with
    `reattention` come first, since the controls are there to explain it.

    >>> choose_pairs(["self", "reattention", "mix_only"])
    [('reattention', 'self'), ('reattention', 'mix_only'), ('mix_only', 'self')]
    """
    if len(values) < 2:
        return []
    reference = PLAIN if PLAIN in values else values[0]
    others = [value for value in values if value != reference]
    if MIXING not in others:
        return [(value, reference) for value in others]
    controls = [value for value in others if value != MIXING]
    return [(MIXING, reference), *((MIXING, value) for value in controls), *((value, reference) for value in controls)]


def find_pairs(arms: Sequence[Arm]) -> Iterator[Pair]:
    """The pairs of arms to compare, those of one pair of values together, the primary question first."""
    axis = compared_axis(arms)
    if axis is None:
        return
    by_value: dict[str, list[Arm]] = {}
    for arm in arms:
        by_value.setdefault(arm.part(axis), []).append(arm)
    for first, second in choose_pairs(list(by_value)):
        for a in by_value[first]:
            yield from (Pair(a, b, axis) for b in by_value[second] if _agree(a, b, axis))


def _agree(a: Arm, b: Arm, axis: str) -> bool:
    shared = set(a.parts) & set(b.parts) - {axis}
    return all(a.parts[name] == b.parts[name] for name in shared)
