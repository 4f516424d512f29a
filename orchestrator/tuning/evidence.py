"""A grid and what its trials have scored so far in; which seed of which cell is trained next out.

One seed of every cell comes before a second one of any, so that a stopped sweep is a complete smaller one. Under a rule
(`seeds: {min, max, until}`) cells whose interval is still too wide then get more, the widest first. All of it is read
from the records: a run that goes on asks for what is still missing by what is known then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import SeedRule, SweepSpec
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Cell
from orchestrator.tuning.schedule import predicted_work
from orchestrator.tuning.survey import Standing

HalfWidths = Callable[[Mapping[str, Sequence[float]]], Mapping[str, float]]
"""Accuracies of seeds by cell in, half the width of each cell's interval out; infinite where nothing tells it."""


@dataclass(frozen=True)
class Need:
    """What the rule asks of one cell next."""

    half_width: float
    """Of its interval now."""
    num_seeds: int
    """That it is to have then, the finished ones included."""


def in_order_of_evidence(standings: Sequence[Standing], widths: Mapping[str, float] | None = None) -> list[Standing]:
    """The first seed of every cell, then the second of every cell and so on; of equal rank the widest cell first, then
    the longest training.

    Args:
        standings: of whole cells, each cell's in the order of its seeds.
        widths: half-widths by `cell_id`; cells without one count as equal.
    """
    known = widths or {}
    ranks: Counter[str] = Counter()
    keyed = []
    for standing in standings:
        cell_id = standing.trial.cell_id
        keyed.append((ranks[cell_id], -known.get(cell_id, 0.0), -predicted_work(standing.trial), standing))
        ranks[cell_id] += 1
    return [standing for *_, standing in sorted(keyed, key=lambda entry: entry[:3])]


def known_so_far(spec: SweepSpec, grid: Grid, results: ResultsDir) -> Grid:
    """`grid` with the seeds that earlier runs of the rule have finished; as it is without a rule."""
    if spec.seed_rule is None:
        return grid
    most = spec.seed_rule.max
    chosen = [cell for cell in grid.cells if cell.trials]
    return grid.with_num_seeds({cell.trials[0].cell_id: _num_recorded(cell, results, most) for cell in chosen})


def needs(spec: SweepSpec, standings: Sequence[Standing], half_widths: HalfWidths) -> dict[str, Need]:
    """Cells that are to get more seeds, by `cell_id`, the widest first; none while a trial has not ended.

    A cell gets as many as its present spread says are missing, and at most as many as it has. One whose seeds all
    diverged or failed gets none: more of them would say the same.
    """
    rule = spec.seed_rule
    if rule is None or not all(s.is_finished or s.state is State.FAIL for s in standings):
        return {}
    num_seeds = Counter(standing.trial.cell_id for standing in standings)
    accs = scores(standings)
    found = {}
    for cell_id, width in sorted(half_widths(accs).items(), key=lambda entry: -entry[1]):
        wanted = seeds_wanted(width, num_seeds[cell_id], rule) if accs[cell_id] else 0
        if wanted > num_seeds[cell_id]:
            found[cell_id] = Need(width, wanted)
    return found


def num_wide(spec: SweepSpec, standings: Sequence[Standing], half_widths: HalfWidths | None) -> int | None:
    """How many cells are known less well than the rule asks; None without a rule."""
    if spec.seed_rule is None or half_widths is None:
        return None
    target = spec.seed_rule.ci_half_width
    return sum(width > target for width in half_widths(scores(standings)).values())


def seeds_wanted(half_width: float, num_seeds: int, rule: SeedRule) -> int:
    """How many seeds a cell is to have next, which has `num_seeds` and is known to `half_width`.

    An interval narrows with the root of their number. More than twice as many are not asked for at once, because a
    spread seen in few seeds may be far off.

    >>> rule = SeedRule(max=10, ci_half_width=0.01)
    >>> [seeds_wanted(width, 3, rule) for width in (0.01, 0.011, 0.013, 0.05)]
    [3, 4, 6, 6]
    """
    if half_width <= rule.ci_half_width:
        return num_seeds
    wanted = num_seeds * min(2.0, (half_width / rule.ci_half_width) ** 2)
    return max(num_seeds, min(rule.max, math.ceil(wanted)))


def scores(standings: Sequence[Standing]) -> dict[str, list[float]]:
    """Test accuracies of the COMPLETE trials of each cell."""
    found: dict[str, list[float]] = {standing.trial.cell_id: [] for standing in standings}
    for standing in standings:
        record = standing.record
        if record is not None and record.state is State.COMPLETE and record.test_acc is not None:
            found[standing.trial.cell_id].append(record.test_acc)
    return found


def _num_recorded(cell: Cell, results: ResultsDir, most: int) -> int:
    """Seeds of a cell up to the first one after `min` that has no record; the next ones are the rule's to ask for."""
    count = len(cell.trials)
    while count < most and results.trial(cell.trial(count).trial_id).record_file.exists():
        count += 1
    return count
