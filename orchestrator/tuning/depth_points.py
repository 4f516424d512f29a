"""The records of a sweep in; its parent run out: mean accuracy of each cell at step = depth, one metric a curve.

Only COMPLETE trials enter a mean, and a text beside the metrics says how many. A cell whose seeds are not all finished
has an optional point: it is shown at the end of a run, or where it already stands.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import fmean
from typing import Any, Protocol
from urllib.parse import quote

from orchestrator.record import State, SweepIndex, SweepMember, TrialRecord
from orchestrator.redact import redact_text
from orchestrator.tuning.run_content import EXPERIMENT_ID, RUN_ID, Point, RunContent

CURVE_METRICS = ("val_acc", "test_acc")

MAX_SUFFIX = 200
"""MLflow takes 250 characters, the metric's name and a hash included."""
MAX_NOTE = 7000
"""MLflow cuts a tag at 8000 characters."""


class CurveName(Protocol):
    """The curve over depth that a cell lies on."""

    @property
    def parts(self) -> Mapping[str, str]:
        """Axis to text, for each axis that names the curve; depth is none of them."""


NameCurves = Callable[[Sequence[Mapping[str, Any]]], Sequence[CurveName]]
"""The axes of all cells in, the curve of each out."""


@dataclass(frozen=True, kw_only=True)
class CellMean:
    """What one cell adds to its curve."""

    curve: str
    depth: int
    means: Mapping[str, float]
    """By metric; one that was not measured is absent."""
    num_complete: int
    num_seeds: int
    is_whole: bool
    """All seeds have ended, in a result or in a divergence."""
    ended_ms: int


def sweep_content(
    index: SweepIndex,
    records: Mapping[str, TrialRecord],
    name_curves: NameCurves,
    *,
    start_ms: int,
    end_ms: int,
    is_running: bool,
) -> RunContent:
    """The parent run of a sweep; `records` holds the finished trials by id."""
    cells = cell_means(index, records, name_curves)
    whole = [cell for cell in cells if cell.is_whole or not is_running]
    partial = [cell for cell in cells if not cell.is_whole and is_running]
    known = [records[member.trial_id] for member in index.members if member.trial_id in records]
    question = redact_text(index.question)
    tags = {
        "kind": "sweep",
        "question": question,
        "axes": ", ".join(index.axes),
        "num_trials": str(len(index.members)),
        "num_complete": str(sum(record.state is State.COMPLETE for record in known)),
        "mlflow.note.content": _note(question, cells),
    }
    return RunContent(
        name=index.name,
        status="RUNNING" if is_running else _status(index, known),
        start_ms=start_ms,
        end_ms=None if is_running else end_ms,
        params={},
        tags={name: text for name, text in tags.items() if text},
        points=_points(whole),
        optional=_points(partial),
    )


def cell_means(index: SweepIndex, records: Mapping[str, TrialRecord], name_curves: NameCurves) -> list[CellMean]:
    """The cells that have a finished trial, in the order of the index."""
    members_of: dict[str, list[SweepMember]] = defaultdict(list)
    for member in index.members:
        members_of[member.cell_id].append(member)
    cells = list(members_of.values())
    curves = metric_suffixes([tuple(name.parts.values()) for name in name_curves([cell[0].axes for cell in cells])])
    found: dict[tuple[str, int], CellMean] = {}
    for cell, curve in zip(cells, curves, strict=True):
        mean = _cell_mean(cell, curve, records)
        if mean is not None and (curve, mean.depth) in found:  # one point a depth, whatever two cells are called
            mean = replace(mean, curve=f"{curve} {cell[0].cell_id[:6]}".strip())
        if mean is not None:
            found[mean.curve, mean.depth] = mean
    return list(found.values())


def metric_suffixes(curves: Sequence[tuple[str, ...]]) -> list[str]:
    """A name that MLflow takes for each curve; equal for equal curves, and only for those."""
    cleaned = ["/".join(_clean(part) for part in curve) for curve in curves]
    meanings: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for curve, text in zip(curves, cleaned, strict=True):
        meanings[text].add(curve)
    return [
        text if len(meanings[text]) == 1 and len(text) <= MAX_SUFFIX else f"{text[:MAX_SUFFIX]} {_short_hash(curve)}"
        for curve, text in zip(curves, cleaned, strict=True)
    ]


def _clean(part: str) -> str:
    """MLflow takes letters, digits, `_ - . :` and spaces, and no part that a path would swallow."""
    text = re.sub(r"[^\w.\- :]", "_", part).strip()
    return text if text.strip(".") else text.replace(".", "_") or "_"


def _short_hash(curve: tuple[str, ...]) -> str:
    return hashlib.sha256("\x1f".join(curve).encode()).hexdigest()[:6]


def _cell_mean(cell: Sequence[SweepMember], curve: str, records: Mapping[str, TrialRecord]) -> CellMean | None:
    found = [records[member.trial_id] for member in cell if member.trial_id in records]
    complete = [record for record in found if record.state is State.COMPLETE]
    if not complete:
        return None
    means = {}
    for metric in CURVE_METRICS:
        values = [value for record in complete if (value := getattr(record, metric)) is not None]
        if values:
            means[metric] = fmean(values)
    return CellMean(
        curve=curve,
        depth=int(complete[0].trial["model"]["depth"]),
        means=means,
        num_complete=len(complete),
        num_seeds=len(cell),
        is_whole=len(found) == len(cell),
        ended_ms=max(_ended_ms(record) for record in complete),
    )


def _points(cells: Sequence[CellMean]) -> tuple[Point, ...]:
    return tuple(
        Point(f"{metric}/{cell.curve}" if cell.curve else metric, cell.depth, mean, cell.ended_ms)
        for cell in cells
        for metric, mean in cell.means.items()
    )


def _status(index: SweepIndex, known: Sequence[TrialRecord]) -> str:
    if len(known) < len(index.members):
        return "KILLED"
    return "FINISHED" if all(record.state is State.COMPLETE for record in known) else "FAILED"


def _note(question: str, cells: Sequence[CellMean]) -> str:
    """Markdown, shown above the charts: the question, and each cell's means with the number of seeds behind them."""
    head = [question, ""] if question else []
    head += [f"Mean accuracy at step = depth: {_chart_links(cells)}.", ""]
    head += ["| curve | depth | test_acc | val_acc | seeds |", "|---|---|---|---|---|"]
    rows = [
        f"| {cell.curve or '-'} | {cell.depth} | {_mean(cell, 'test_acc')} | {_mean(cell, 'val_acc')} "
        f"| {cell.num_complete} of {cell.num_seeds} |"
        for cell in sorted(cells, key=lambda cell: (cell.curve, cell.depth))
    ]
    while rows and len("\n".join(head + rows)) > MAX_NOTE:
        rows = [*rows[: len(rows) // 2], "| and more | | | | |"]
    return "\n".join(head + rows)


def _chart_links(cells: Sequence[CellMean]) -> str:
    """Links to MLflow's page that draws several metrics in one chart: every curve against depth."""
    points = _points(cells)
    links = []
    for metric in reversed(CURVE_METRICS):
        keys = list(dict.fromkeys(point.key for point in points if point.key.partition("/")[0] == metric))
        if keys:
            links.append(f"[{metric} of every curve](#/metric?{_chart_query(keys)})")
    return ", ".join(links)


def _chart_query(keys: Sequence[str]) -> str:
    """The order is MLflow's: it finds `runs` at the beginning only."""
    quoted = {
        "runs": f'["{RUN_ID}"]',
        "metric": json.dumps(keys[0]),
        "experiments": f'["{EXPERIMENT_ID}"]',
        "plot_metric_keys": json.dumps(keys),
        "plot_layout": '{"autosize":true}',
    }
    plain = "x_axis=step&y_axis_scale=linear&line_smoothness=1&show_point=true"
    unused = "deselected_curves=[]&last_linear_y_axis_range=[]"
    query = "&".join(f"{name}={quote(value, safe='{}')}" for name, value in quoted.items())
    return f"{query}&{plain}&{unused}&workflowType=machine_learning"


def _mean(cell: CellMean, metric: str) -> str:
    return f"{cell.means[metric]:.4f}" if metric in cell.means else "-"


def _ended_ms(record: TrialRecord) -> int:
    return round(datetime.fromisoformat(record.provenance.ended_at).timestamp() * 1000)
