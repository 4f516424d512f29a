"""What a rule for the seeds saves over one number of seeds for all cells, and how often its intervals hold the truth.

Sweeps of cells with known means and spreads are drawn. The rule of `seeds: {min, max, until}` asks for seeds until each
cell's interval is narrow enough; the fixed number beside it is the smallest with which as many cells of the same draws
are.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.stats import t as student_t

from orchestrator.grids.sweep_spec import SeedRule
from orchestrator.tuning.evidence import HalfWidths, seeds_wanted
from orchestrator.views.seed_rule import half_widths

NUM_CELLS, MIN_SEEDS = 24, 3
RULE = SeedRule(max=20, ci_half_width=0.003)
COVERS = (0.93, 0.97)


@dataclass(frozen=True)
class Setting:
    """How far the seeds of each cell spread, on the scale of the accuracy."""

    name: str
    spreads: Sequence[float]


SETTINGS = (
    Setting("all cells spread alike (0.3 points)", [0.003] * NUM_CELLS),
    Setting("deep cells spread 3 times as far (0.2 to 0.6 points)", np.linspace(0.002, 0.006, NUM_CELLS).tolist()),
    Setting("one cell of 8 spreads 3 times as far (0.2, 0.6 points)", [0.006, *[0.002] * 7] * (NUM_CELLS // 8)),
)


@dataclass
class Outcome:
    """One simulated sweep."""

    num_ruled: int
    """Trials that the rule asked for."""
    num_fixed: int
    """Trials of the fixed number."""
    share_narrow: float
    """Cells that the rule brought to the width."""
    coverage: float
    """Cells whose final interval holds the true mean, 0..1; by the rule."""
    widest_coverage: float
    """The same over the cells with the largest spread."""
    fixed_coverage: float


def stop_by(accs: NDArray[np.float64], rule: SeedRule, widths: HalfWidths = half_widths) -> list[int]:
    """How many seeds of each cell a rule asks for.

    Args:
        accs: of as many seeds as the rule allows, [cells, seeds].
    """
    counts = [MIN_SEEDS] * len(accs)
    while True:
        known = widths(_first(accs, counts))
        wanted = [seeds_wanted(known[str(cell)], count, rule) for cell, count in enumerate(counts)]
        if wanted == counts:
            return counts
        counts = wanted


def own_widths(accs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Intervals with each cell's own spread from the start: what the rule does not do."""
    quantile = {n: float(student_t.ppf(0.975, n - 1)) / n**0.5 for n in {len(values) for values in accs.values()}}
    return {cell: quantile[len(values)] * float(np.std(values, ddof=1)) for cell, values in accs.items()}


def simulate(setting: Setting, rng: np.random.Generator, rule: SeedRule = RULE) -> tuple[Outcome, float]:
    """One sweep under the rule, and the coverage of a rule by each cell's own spread on the same draws."""
    spreads = np.asarray(setting.spreads)
    accs = rng.standard_normal((len(spreads), rule.max)) * spreads[:, None]  # the true means are 0
    counts = stop_by(accs, rule)
    widths = half_widths(_first(accs, counts))
    is_narrow = [width <= rule.ci_half_width for width in widths.values()]
    fixed = _fixed_number(accs, rule, sum(is_narrow))
    held = _held(accs, counts, half_widths)
    outcome = Outcome(
        num_ruled=sum(counts),
        num_fixed=fixed * len(accs),
        share_narrow=float(np.mean(is_narrow)),
        coverage=float(held.mean()),
        widest_coverage=float(held[spreads == spreads.max()].mean()),
        fixed_coverage=float(_held(accs, [fixed] * len(accs), half_widths).mean()),
    )
    return outcome, float(_held(accs, stop_by(accs, rule, own_widths), own_widths).mean())


def _fixed_number(accs: NDArray[np.float64], rule: SeedRule, num_narrow: int) -> int:
    for count in range(MIN_SEEDS, rule.max):
        widths = half_widths(_first(accs, [count] * len(accs))).values()
        if sum(width <= rule.ci_half_width for width in widths) >= num_narrow:
            return count
    return rule.max


def _held(accs: NDArray[np.float64], counts: Sequence[int], widths: HalfWidths) -> NDArray[np.bool_]:
    known = _first(accs, counts)
    found = widths(known)
    return np.array([abs(float(np.mean(values))) <= found[cell] for cell, values in known.items()])


def _first(accs: NDArray[np.float64], counts: Sequence[int]) -> dict[str, list[float]]:
    return {str(cell): accs[cell, :count].tolist() for cell, count in enumerate(counts)}


def measure(setting: Setting, num_sweeps: int, random_seed: int = 0) -> dict[str, float]:
    """Means over simulated sweeps, by what they say; the column of one setting."""
    drawn = [simulate(setting, np.random.default_rng((random_seed, number))) for number in range(num_sweeps)]
    outcomes = [outcome for outcome, _ in drawn]

    def mean(name: str) -> float:
        return float(np.mean([getattr(one, name) for one in outcomes]))

    return {
        "trials under the rule": mean("num_ruled"),
        "trials at a fixed number": mean("num_fixed"),
        "rule / fixed": mean("num_ruled") / mean("num_fixed"),
        "cells narrow enough, %": 100 * mean("share_narrow"),
        "coverage under the rule, %": 100 * mean("coverage"),
        "the same, cells that spread most, %": 100 * mean("widest_coverage"),
        "coverage at a fixed number, %": 100 * mean("fixed_coverage"),
        "coverage, each cell by its own spread, %": 100 * float(np.mean([own for _, own in drawn])),
    }


def make_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """The Markdown table, a column a setting."""
    lines = [f"| | {' | '.join(found)} |", "|---|" + "---|" * len(found)]
    for row in next(iter(found.values())):
        digits = 2 if row.startswith("rule") else 1
        lines.append(f"| {row} | {' | '.join(f'{shares[row]:.{digits}f}' for shares in found.values())} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table; exit code 1 where the rule's coverage leaves 93 to 97 %."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks evidence", description=__doc__)
    parser.add_argument("--sweeps", type=int, default=1000, help="of each setting (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (default 0)")
    options = parser.parse_args(list(arguments))
    found = {}
    for setting in SETTINGS:
        found[setting.name] = measure(setting, options.sweeps, options.seed)
        print(setting.name, file=sys.stderr)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    rule = f"{MIN_SEEDS} to {RULE.max} seeds until {100 * RULE.ci_half_width:g} points"
    print(f"{make_table(found)}\n{options.sweeps:,} sweeps of {NUM_CELLS} cells; {rule}; {versions}.")
    covers = [shares["coverage under the rule, %"] / 100 for shares in found.values()]
    return 0 if all(COVERS[0] <= share <= COVERS[1] for share in covers) else 1
