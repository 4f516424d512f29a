"""A trial's files, or the records of a sweep, in; what an MLflow run has to show of them out. Knows no MLflow.

Everything here follows from the files alone, times included, so a mirror that is rebuilt says what the old one said.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.record import Attempt, EpochMetrics, State, SweepMember, TrialRecord
from orchestrator.redact import redact
from orchestrator.results import TrialFolder
from orchestrator.trial import Trial

EPOCH_METRICS = ("train_loss", "val_loss", "val_acc", "lr")
FINAL_METRICS = ("test_acc", "test_loss", "val_acc", "val_loss")
COST_METRICS = ("num_params", "flops", "wall_time_s", "train_time_s", "peak_memory_mib")

STATUS_OF: Mapping[State, str] = {
    State.COMPLETE: "FINISHED",
    State.DIVERGED: "FAILED",
    State.FAIL: "FAILED",
    State.PRUNED: "KILLED",
    State.WAITING: "KILLED",
    State.RUNNING: "KILLED",
}
"""MLflow's status of a trial that this run is not training now."""

GONE_WHEN_ABSENT = (
    *("diverged", "error", "executor", "data_fingerprint"),
    *("git_commit", "git_dirty", "mlflow.source.git.commit"),
)
"""Tags that a run may have to lose when its trial goes on."""

RUN_ID, EXPERIMENT_ID = "{run_id}", "{experiment_id}"
"""Stand in the text of a tag for what is only known when the run is there."""

NOT_FINITE = "not_finite/"
"""Start of the tags that say what no metric can."""


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    step: int
    value: float
    timestamp_ms: int


@dataclass(frozen=True, kw_only=True)
class RunContent:
    """What one MLflow run shows."""

    name: str
    status: str
    """RUNNING, FINISHED, FAILED or KILLED."""
    start_ms: int
    end_ms: int | None
    """None while it runs."""
    params: Mapping[str, str]
    tags: Mapping[str, str]
    points: tuple[Point, ...]
    optional: tuple[Point, ...] = ()
    """Points that may stay where they are already shown, and need not be added."""
    is_growing: bool = False
    """Points beyond these are no contradiction: they will come (again)."""

    @property
    def digest(self) -> str:
        """Equal for runs that show the same."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def trial_content(
    folder: TrialFolder, member: SweepMember, record: TrialRecord | None, *, is_running: bool
) -> RunContent | None:
    """The run of one trial, or None for a trial that was never started.

    Args:
        record: what `folder.read_record` says.
        is_running: whether this run trains it now; what another run trains is not followed here.

    Raises:
        ResultsError: a file of the trial is damaged; the message names it.
    """
    attempts = folder.read_attempts()
    if record is None and not attempts:
        return None
    state = record.state if record else folder.state()
    status = "RUNNING" if record is None and is_running else STATUS_OF[state]
    start_ms = _milliseconds(attempts[0].started_at if attempts else record.provenance.started_at if record else "")
    metrics = folder.read_metrics()
    rows = _finite(_epoch_points(metrics, start_ms))
    last_ms = max((point.timestamp_ms for point in rows.points), default=start_ms)
    end_ms = _end_ms(record, attempts, last_ms)
    canonical = dict(record.trial) if record else folder.read_trial() or {}
    finals = _finite(_final_points(record, end_ms))
    tags = _trial_tags(member, State.RUNNING if status == "RUNNING" else state, record, attempts)
    num_packed = record.num_packed if record else max((row.num_packed for row in metrics), default=1)
    tags["num_packed"] = str(num_packed)
    return RunContent(
        name=_run_name(canonical, member),
        status=status,
        start_ms=start_ms,
        end_ms=None if status == "RUNNING" else end_ms,
        params={name: redact(name, _text(value)) for name, value in _flat(canonical).items()},
        tags={name: redact(name, text) for name, text in {**tags, **rows.tags, **finals.tags}.items()},
        points=rows.points + finals.points,
        is_growing=record is None,
    )


@dataclass(frozen=True)
class _Finite:
    points: tuple[Point, ...]
    tags: Mapping[str, str]
    """What the others were, because MLflow would turn infinity into 1.8e308."""


def _finite(points: Iterable[Point]) -> _Finite:
    kept, others = [], dict[str, list[str]]()
    for point in points:
        if math.isfinite(point.value):
            kept.append(point)
        else:
            others.setdefault(NOT_FINITE + point.key, []).append(f"{point.value} at step {point.step}")
    return _Finite(tuple(kept), {name: ", ".join(texts)[:1000] for name, texts in others.items()})


def _epoch_points(rows: Sequence[EpochMetrics], start_ms: int) -> Iterable[Point]:
    elapsed_s = 0.0
    for row in rows:
        elapsed_s += row.wall_time_s
        for key in EPOCH_METRICS:
            value = getattr(row, key)
            if value is not None:
                yield Point(key, row.epoch, float(value), start_ms + round(elapsed_s * 1000))


def _final_points(record: TrialRecord | None, end_ms: int) -> Iterable[Point]:
    if record is None:
        return
    groups = {"final": FINAL_METRICS, "cost": COST_METRICS}
    for group, names in groups.items():
        for name in names:
            value = getattr(record, name)
            if value is not None:
                yield Point(f"{group}/{name}", record.num_epochs, float(value), end_ms)


def _trial_tags(
    member: SweepMember, state: State, record: TrialRecord | None, attempts: Sequence[Attempt]
) -> dict[str, str]:
    tags = {"kind": "trial"}
    tags |= {"trial_id": member.trial_id, "cell_id": member.cell_id, "seed": str(member.seed), "state": state.value}
    tags["phase"] = member.phase
    if member.proposal is not None:
        tags["proposal"] = str(member.proposal)
    tags["num_attempts"] = str(record.num_attempts if record else len(attempts))
    if record is not None:
        origin = record.provenance
        tags |= {"device": origin.device, "host": origin.host, "executor": origin.executor}
        tags |= {"code_fingerprint": origin.code_fingerprint, "data_fingerprint": origin.data_fingerprint}
        if origin.git_commit is not None:
            tags |= {"git_commit": origin.git_commit, "mlflow.source.git.commit": origin.git_commit}
            tags["git_dirty"] = str(origin.git_dirty).lower()
        if record.diverged:
            tags["diverged"] = record.diverged
    else:
        last = attempts[-1]
        tags |= {"device": last.device, "host": last.host, "code_fingerprint": last.code_fingerprint}
        if last.error:
            tags["error"] = last.error
    return tags


def _run_name(canonical: Mapping[str, Any], member: SweepMember) -> str:
    """The trial's label, and every further axis: what tells the trials of one sweep apart."""
    try:
        label = Trial.from_canonical(canonical).label
    except (TypeError, KeyError, ValueError):
        label = member.trial_id
    if member.proposal is not None:
        label = f"search {label.rpartition('-s')[0]}-p{member.proposal}"
    named = {"depth", "attention", "embed_dim"}
    further = {axis.rpartition(".")[2]: value for axis, value in member.axes.items() if value is not None}
    return " ".join([label, *(f"{name} {_text(value)}" for name, value in further.items() if name not in named)])[:250]


def _end_ms(record: TrialRecord | None, attempts: Sequence[Attempt], last_ms: int) -> int:
    if record is not None:
        return _milliseconds(record.provenance.ended_at)
    ended_at = attempts[-1].ended_at
    return last_ms if ended_at is None else _milliseconds(ended_at)


def _milliseconds(iso: str) -> int:
    return round(datetime.fromisoformat(iso).timestamp() * 1000)


def _flat(canonical: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in canonical.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": inner_value for inner, inner_value in value.items()}
        else:
            flat[name] = value
    return flat


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
