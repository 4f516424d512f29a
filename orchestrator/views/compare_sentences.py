"""A comparison of two sweeps in; the lines that a terminal shows out."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.views.answer_sentences import name_arm, points, say_estimate, say_saturation, signed
from orchestrator.views.cell_pairs import SweepCell, SweepSide, name_cell
from orchestrator.views.compare import ComparedCell, SweepComparison
from orchestrator.views.stats import SaturationAnswer

NO_ANSWER = "fewer than two depths are finished"


def say_comparison_lines(found: SweepComparison) -> list[str]:
    """The table of cells, what is missing and changed, and both saturation answers."""
    lines = [f"B minus A, test accuracy in points; A is {_place(found.a)}, B is {_place(found.b)}", ""]
    lines += _say_cells(found.cells) or ["no cell stands in both sweeps"]
    lines += _say_missing("A", found.only_a) + _say_missing("B", found.only_b) + _say_changes(found.cells)
    for pair in found.curves:
        name = name_arm(pair.arm)
        lines += ["", f"{name}:", f"  A: {_say_answer(name, pair.a)}", f"  B: {_say_answer(name, pair.b)}"]
    return lines


def say_warnings(found: SweepComparison) -> list[str]:
    """What limits the comparison: unfinished sweeps, diverged trials, intervals that speak of seeds alone."""
    warnings = []
    for letter, side in (("A", found.a), ("B", found.b)):
        if side.num_ended < side.num_trials:
            warnings.append(f"{letter} is not finished: {side.num_ended} of {side.num_trials} trials have ended")
        num_diverged = sum(cell.num_diverged for cell in side.cells)
        if num_diverged:
            warnings.append(f"{num_diverged} trials of {letter} diverged; they are outcomes and in no mean")
        warnings += [f"{letter}: {notice}" for notice in side.table.attrs["notices"]]
    measured = [cell for cell in found.cells if cell.delta is not None]
    alone = [cell for cell in measured if cell.delta is not None and cell.delta.estimate.num_images is None]
    if alone:
        warnings.append(
            f"{len(alone)} of {len(measured)} cells are compared over seeds only, because predictions are missing or "
            "the test sets differ: their intervals say nothing about other test images"
        )
    num_same = sum(len(cell.pair.a.trial_ids & cell.pair.b.trial_ids) for cell in found.cells)
    if num_same:
        warnings.append(f"{num_same} trials stand in both sweeps: there nothing can differ")
    return warnings


def say_worse(found: SweepComparison, limit: float) -> list[str]:
    """A line for each cell that is worse by more than `limit` points."""
    told = f"worse by more than {limit:g} points"
    return [
        f"{told}: {pair.label}: {say_estimate(cell.estimate)}, corrected p {_say_p(cell.holm_p)}"
        for pair, cell in found.worse(limit)
    ]


def _say_cells(cells: Sequence[ComparedCell]) -> list[str]:
    rows: list[tuple[str, ...]] = [("cell", "A", "B", "seeds", "delta (95 %)", "corrected p", "how")]
    rows += [_say_cell(cell) for cell in cells]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return lines if cells else []


def _say_cell(cell: ComparedCell) -> tuple[str, ...]:
    a, b = cell.pair.a, cell.pair.b
    accs = ["-" if side.replicates is None else f"{100 * side.replicates.mean:.2f}" for side in (a, b)]
    seeds = f"{a.num_seeds}" if a.num_seeds == b.num_seeds else f"{a.num_seeds}/{b.num_seeds}"
    if cell.delta is None:
        return (cell.pair.label, *accs, seeds, "not measured in both", "", "")
    estimate = cell.delta.estimate
    span = "no interval: one seed"
    if estimate.low is not None and estimate.high is not None:
        span = f"{signed(estimate.value)} ({points(estimate.low)} to {points(estimate.high)})"
    how = f"{estimate.method}, {'paired' if estimate.is_paired else 'unpaired'}"
    mark = " *" if cell.delta.is_significant else ""
    return (cell.pair.label, *accs, seeds, span, _say_p(cell.delta.holm_p) + mark, how)


def _say_missing(letter: str, cells: Sequence[SweepCell]) -> list[str]:
    return [f"only in {letter}: {name_cell(cell.axes)}" for cell in cells]


def _say_changes(cells: Sequence[ComparedCell]) -> list[str]:
    """Changes once, with the cells they concern."""
    concerned: dict[str, list[str]] = {}
    for cell in cells:
        for change in cell.pair.changes:
            concerned.setdefault(change, []).append(cell.pair.label)
    return [
        f"changed {change} ({'every shared cell' if len(labels) == len(cells) else '; '.join(labels)})"
        for change, labels in concerned.items()
    ]


def _say_answer(name: str, answer: SaturationAnswer | None) -> str:
    return NO_ANSWER if answer is None else say_saturation(name, answer)


def _say_p(p: float | None) -> str:
    return "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _place(side: SweepSide) -> str:
    return f"{side.name} in {side.results.root}"
