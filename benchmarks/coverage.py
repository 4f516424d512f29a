"""How often intervals hold the truth and tests raise false alarms, over simulated sweeps whose truth is known."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray

from benchmarks.simulated_sweeps import CIFAR, DIGITS, Noise, simulate, simulate_pairs, simulate_sweeps
from orchestrator.views.compare import compare_cells
from orchestrator.views.stats import (
    Estimate,
    Interval,
    Replicates,
    Verdict,
    answer_saturation,
    crossed_bootstrap,
    delta,
    difference_in_differences,
    fit_exponential,
    fit_hinge,
    holm,
    mean_accuracy,
    pooled_delta,
)

DEPTHS = np.array([4, 6, 8, 12, 16, 24, 32])
KNEES = (9.0, 14.0, 26.0)
SCALES = (3.0, 6.0, 12.0)
UNEVEN_SEEDS = 0.1
"""Mean spread over seeds, on the scale of the score, where it differs between depths: enough to outweigh the images."""
NUM_BOOTSTRAPS = 200
"""Sweeps on which the slow crossed bootstrap is tried too."""
NUM_COMPARED, COMPARED_SEEDS, NUM_CALIBRATED = 8, 8, 100
"""Cells of a compared sweep, seeds of each, and tries from which their true standard errors are taken."""


@dataclass(frozen=True)
class Setting:
    """A kind of run: its noise, and curves of a size that such runs have."""

    noise: Noise
    shallow: float
    """True accuracy at the smallest depth."""
    gain: float
    """From there to the plateau."""
    margin: float
    """Of the equivalence test: what such noise can show."""


SETTINGS = (Setting(DIGITS, 0.88, 0.06, 0.03), Setting(CIFAR, 0.70, 0.06, 0.003))

RULES = {
    "covers": (0.93, 0.97),
    "covers at least": (0.93, 1.0),
    "false alarms": (0.0, 0.065),
    "finds": (0.8, 1.0),
    "check": (0.0, 1.0),
}
"""Kind of row to the bounds that its share has to keep."""


@dataclass
class Tally:
    """Shares of yes, by what was asked; a row is (kind, question, seeds)."""

    answers: dict[tuple[str, str, str], list[bool]] = field(default_factory=lambda: defaultdict(list))

    def holds(self, question: str, seeds: str, estimate: Estimate, truth: float) -> None:
        """Note whether the interval of an estimate holds the truth."""
        is_held = estimate.low is not None and estimate.high is not None and estimate.low <= truth <= estimate.high
        self.answers["covers", question, seeds].append(is_held)

    def spans(self, question: str, interval: Interval | None, truth: float) -> None:
        """Note whether an interval that may be open holds the truth, and whether it is open above."""
        assert interval is not None
        is_held = (interval.low is None or interval.low <= truth) and (interval.high is None or truth <= interval.high)
        self.answers["covers at least", question, "6"].append(is_held)
        self.answers["check", f"{question}: open above", "6"].append(interval.high is None)

    def alarm(self, question: str, seeds: str, is_raised: bool) -> None:
        """Note whether a test cried out where there is nothing."""
        self.answers["false alarms", question, seeds].append(is_raised)

    def shares(self) -> dict[tuple[str, str, str], float]:
        return {row: float(np.mean(values)) for row, values in self.answers.items()}


def measure(setting: Setting, num_sweeps: int, random_seed: int = 0) -> Tally:
    """Everything that is asked of one kind of run."""
    tally = Tally()
    _measure_differing(setting, num_sweeps, random_seed, tally)
    _measure_asymptotes(setting, num_sweeps, random_seed + 1, tally)
    _measure_uneven(setting, num_sweeps, random_seed + 4, tally)
    _measure_nothing(setting, num_sweeps, random_seed + 2, tally)
    _measure_compare(setting, num_sweeps, random_seed + 3, tally)
    return tally


def _measure_differing(setting: Setting, num_sweeps: int, random_seed: int, tally: Tally) -> None:
    """Curves with three knees: means, deltas, contrasts, knees."""
    truths = np.array([_hinge(setting, knee) for knee in KNEES])
    sweeps = simulate_sweeps(num_sweeps, truths.ravel(), 6, setting.noise, random_seed)
    for number, cells in enumerate(sweeps):
        curves = _split(cells, len(KNEES))
        for num_seeds in (3, 6):
            first, _, last = [[cell.only(range(num_seeds)) for cell in curve] for curve in curves]
            _hold_contrasts(tally, str(num_seeds), (first, last), truths[[0, 2]])
            if number < NUM_BOOTSTRAPS:
                _hold_bootstrap(tally, str(num_seeds), first[-1], last[-1], float(truths[0, -1] - truths[2, -1]))
        apart = delta(curves[0][-1].only((0, 1, 2)), curves[2][-1].only((3, 4, 5)))
        tally.holds("delta, disjoint seeds", "3", apart, float(truths[0, -1] - truths[2, -1]))
        for knee, curve in zip(KNEES, curves, strict=True):
            tally.spans(f"knee at {knee:g}", fit_hinge(DEPTHS, curve).knee_interval, knee)


def _hold_contrasts(
    tally: Tally, seeds: str, curves: tuple[list[Replicates], list[Replicates]], truths: NDArray[np.float64]
) -> None:
    (a, b), (true_a, true_b) = curves, truths
    for at in (0, 3, 6):
        tally.holds(f"mean, {DEPTHS[at]} blocks", seeds, mean_accuracy(a[at]), true_a[at])
        tally.holds(f"delta, {DEPTHS[at]} blocks", seeds, delta(a[at], b[at]), true_a[at] - true_b[at])
    gain = (true_a[-1] - true_a[0]) - (true_b[-1] - true_b[0])
    tally.holds("difference in differences", seeds, difference_in_differences(a[0], a[-1], b[0], b[-1]), gain)
    tally.holds("delta pooled over depths", seeds, pooled_delta(list(zip(a, b, strict=True))), (true_a - true_b).mean())


def _hold_bootstrap(tally: Tally, seeds: str, a: Replicates, b: Replicates, truth: float) -> None:
    found = crossed_bootstrap([a, b], [1.0, -1.0], num_draws=500)
    row = ("check", f"crossed bootstrap of a delta covers ({NUM_BOOTSTRAPS} sweeps)", seeds)
    tally.answers[row].append(found.low <= truth <= found.high)


def _measure_asymptotes(setting: Setting, num_sweeps: int, random_seed: int, tally: Tally) -> None:
    """Exponential curves."""
    rise = [setting.gain * (1.0 - np.exp(-(DEPTHS - DEPTHS[0]) / scale)) for scale in SCALES]
    for cells in simulate_sweeps(num_sweeps, setting.shallow + np.ravel(rise), 6, setting.noise, random_seed):
        for scale, curve in zip(SCALES, _split(cells, len(SCALES)), strict=True):
            interval = fit_exponential(DEPTHS, curve).asymptote_interval
            tally.spans(f"asymptote, scale {scale:g}", interval, setting.shallow + setting.gain)


def _measure_uneven(setting: Setting, num_sweeps: int, random_seed: int, tally: Tally) -> None:
    """A late knee, and seeds that spread three times as far at the deepest as at the shallowest."""
    spreads = np.linspace(0.5, 1.5, len(DEPTHS)) * UNEVEN_SEEDS
    for number in range(num_sweeps):
        rng = np.random.default_rng((random_seed, number))
        curve = simulate(rng, _hinge(setting, KNEES[-1]), 6, setting.noise, spreads.tolist())
        tally.spans(f"knee at {KNEES[-1]:g}, deep seeds spread more", fit_hinge(DEPTHS, curve).knee_interval, KNEES[-1])


def _measure_nothing(setting: Setting, num_sweeps: int, random_seed: int, tally: Tally) -> None:
    """Two equal curves with a plateau from 12 blocks on, and one whose last gain is exactly the margin."""
    flat = _hinge(setting, 12.0)
    edge = flat + np.where(DEPTHS[-1] == DEPTHS, setting.margin, 0.0)
    for cells in simulate_sweeps(num_sweeps, [*flat, *flat, *edge], 6, setting.noise, random_seed):
        curves = _split(cells, 3)
        for num_seeds in (3, 6):
            a, b, c = [[cell.only(range(num_seeds)) for cell in curve] for curve in curves]
            _raise_alarms(tally, str(num_seeds), a, b)
            at_edge = answer_saturation(_by_depth(c), margin=setting.margin)
            tally.alarm("called saturated, last gain = margin", str(num_seeds), at_edge.saturated_from is not None)


def _raise_alarms(tally: Tally, seeds: str, a: list[Replicates], b: list[Replicates]) -> None:
    deltas = [delta(x, y) for x, y in zip(a, b, strict=True)]
    adjusted = [p for p in holm([found.p for found in deltas]) if p is not None]
    tally.alarm("delta at one depth", seeds, (deltas[-1].p or 0.0) < 0.05)
    tally.alarm("any of 7 deltas, Holm", seeds, min(adjusted) < 0.05)
    tally.alarm("delta pooled over depths", seeds, (pooled_delta(list(zip(a, b, strict=True))).p or 0.0) < 0.05)
    gain = difference_in_differences(a[0], a[-1], b[0], b[-1])
    tally.alarm("difference in differences", seeds, (gain.p or 0.0) < 0.05)
    answer = answer_saturation(_by_depth(a))
    tally.alarm("called not saturated, plateau", seeds, answer.verdict is Verdict.NOT_SATURATED)
    tally.alarm("decline after a peak, plateau", seeds, answer.decline.is_shown)


def _measure_compare(setting: Setting, num_sweeps: int, random_seed: int, tally: Tally) -> None:
    """Pairs of sweeps of one spec with disjoint seeds; in every second one a cell is worse by four standard errors."""
    truths = np.linspace(setting.shallow, setting.shallow + setting.gain, NUM_COMPARED)
    equal = list(zip(truths, truths, strict=True))
    errors = _true_errors(setting, truths, random_seed)
    for number in range(num_sweeps // 2):
        rng = np.random.default_rng((random_seed, number))
        quiet = compare_cells(simulate_pairs(rng, equal, COMPARED_SEEDS, setting.noise))
        tally.alarm(f"compare: any of {NUM_COMPARED} cells", "8", any(found.is_significant for found in quiet))
        at = number % NUM_COMPARED
        shifted = [(a, b - 4.0 * errors[at] * (place == at)) for place, (a, b) in enumerate(equal)]
        found = compare_cells(simulate_pairs(rng, shifted, COMPARED_SEEDS, setting.noise))
        row = ("finds", f"compare: 4 standard errors in 1 of {NUM_COMPARED} cells", "8")
        tally.answers[row].append(found[at].is_significant)


def _true_errors(setting: Setting, truths: NDArray[np.float64], random_seed: int) -> NDArray[np.float64]:
    """Standard errors of B - A where B is worse by four of them; a worse cell is noisier, hence two rounds."""
    rng = np.random.default_rng((random_seed, 10**6))
    errors = np.zeros(len(truths))
    for _ in range(2):
        pairs = list(zip(truths, truths - 4.0 * errors, strict=True))
        tries = [simulate_pairs(rng, pairs, COMPARED_SEEDS, setting.noise) for _ in range(NUM_CALIBRATED)]
        errors = np.std([[b.mean - a.mean for a, b in drawn] for drawn in tries], axis=0)
    return errors


def _hinge(setting: Setting, knee: float) -> NDArray[np.float64]:
    """A curve that gains `setting.gain` up to its knee."""
    start = float(DEPTHS[0])
    return setting.shallow + setting.gain * (np.minimum(DEPTHS, knee) - start) / (knee - start)


def _split(cells: Sequence[Replicates], num_curves: int) -> list[list[Replicates]]:
    size = len(cells) // num_curves
    return [list(cells[start : start + size]) for start in range(0, len(cells), size)]


def _by_depth(curve: Sequence[Replicates]) -> dict[int, Replicates]:
    return dict(zip(DEPTHS.tolist(), curve, strict=True))


def is_kept(row: tuple[str, str, str], share: float) -> bool:
    """Whether a row's share lies within its kind's bounds."""
    low, high = RULES[row[0]]
    return low <= share <= high


def make_table(found: Mapping[str, Mapping[tuple[str, str, str], float]]) -> str:
    """The Markdown table of all rows, a column a setting; shares in percent, a broken bound marked."""
    bounds = {"covers": "93 to 97", "covers at least": "at least 93", "false alarms": "at most 6.5"}
    bounds |= {"finds": "at least 80", "check": ""}
    lines = [f"| question | seeds | asked for | {' | '.join(found)} |", "|---|---|---|" + "---|" * len(found)]
    rows = sorted(
        {row for shares in found.values() for row in shares}, key=lambda row: (list(RULES).index(row[0]), row)
    )
    for row in rows:
        cells = [f"{100 * shares[row]:.1f}" + ("" if is_kept(row, shares[row]) else " !") for shares in found.values()]
        kind = "false alarms: " if row[0] == "false alarms" else ""
        lines.append(f"| {kind}{row[1]} | {row[2]} | {bounds[row[0]]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table; exit code 1 where a bound is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks coverage", description=__doc__)
    parser.add_argument("--sweeps", type=int, default=2000, help="of each kind and setting (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation (default 0)")
    parser.add_argument("--output", type=Path, help="write the table here too")
    options = parser.parse_args(list(arguments))
    began = time.monotonic()
    found = {}
    for setting in SETTINGS:
        found[setting.noise.name] = measure(setting, options.sweeps, 10 * options.seed).shares()
        print(f"{setting.noise.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    text = f"{make_table(found)}\n{options.sweeps:,} sweeps of each kind; {versions}.\n"
    print(text, end="")
    if options.output:
        options.output.write_text(text)
    return 0 if all(is_kept(row, share) for shares in found.values() for row, share in shares.items()) else 1
