"""Small sweeps made of files alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from orchestrator import durable
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.record import Attempt, EpochMetrics, Provenance, State, SweepIndex, SweepMember, TrialRecord
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial

START = "2026-01-02T03:04:05+00:00"
START_MS = 1767323045000


@dataclass(frozen=True)
class Curve:
    """Stands for what names curves elsewhere: the axes but depth."""

    parts: Mapping[str, str]


def name_curves(cells: Sequence[Mapping[str, Any]]) -> list[Curve]:
    def text(axis: str, value: Any) -> str:
        return str(value) if axis == "attention" else f"{axis} {value}"

    return [Curve({a: text(a, v) for a, v in cell.items() if a != "depth" and v is not None}) for cell in cells]


def make_trial(depth: int = 2, attention: str = "self", seed: int = 0, lr: float = 0.002) -> Trial:
    return Trial(
        model=ModelConfig(depth=depth, embed_dim=16, num_heads=2, patch_size=4, img_size=8, attention=attention),
        data=DataConfig(name="digits", num_classes=10, in_chans=1),
        train=TrainConfig(epochs=2, batch_size=64, lr=lr),
        seed=seed,
    )


def make_index(
    depths: Iterable[int] = (2, 4), attentions: Iterable[str] = ("self",), seeds: Iterable[int] = (0,), name: str = "s"
) -> SweepIndex:
    """A grid of depth x attention x seed."""
    members = tuple(
        member_of(make_trial(depth, attention, seed), depth=depth, attention=attention)
        for depth, attention, seed in product(depths, attentions, seeds)
    )
    return SweepIndex(name=name, axes=("depth", "attention"), members=members, question="How deep?")


def member_of(trial: Trial, **axes: Any) -> SweepMember:
    return SweepMember(trial_id=trial.trial_id, cell_id=trial.cell_id, seed=trial.seed, axes=axes)


def trials_of(index: SweepIndex) -> list[Trial]:
    return [make_trial(m.axes["depth"], m.axes["attention"], m.seed) for m in index.members]


def write_index(results: ResultsDir, index: SweepIndex) -> None:
    durable.write_sealed_json(results.sweep(index.name).trials_file, dataclasses.asdict(index))


def start_trial(results: ResultsDir, trial: Trial, num_epochs: int = 0, **attempt: Any) -> None:
    """A trial in the middle of its first attempt."""
    folder = results.trial(trial.trial_id)
    durable.write_json(folder.trial_file, trial.canonical())
    known: dict[str, Any] = {"number": 1, "host": "h", "process": 1, "device": "cpu: c", "code_fingerprint": "f"}
    content = Attempt(**{**known, "versions": {}, "started_at": START, **attempt})
    durable.write_sealed_json(folder.attempt_file(content.number), dataclasses.asdict(content))
    write_rows(results, trial, num_epochs)


def write_rows(results: ResultsDir, trial: Trial, num_epochs: int, train_loss: float = 2.0) -> None:
    rows = [
        EpochMetrics(
            epoch=epoch, train_loss=train_loss / epoch, val_loss=None, val_acc=0.1 * epoch, lr=0.01, wall_time_s=1.5
        )
        for epoch in range(1, num_epochs + 1)
    ]
    text = "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows)
    durable.write_text(results.trial(trial.trial_id).metrics_file, text)


def finish_trial(results: ResultsDir, trial: Trial, acc: float = 0.5, **changes: Any) -> TrialRecord:
    """A finished trial, with two epochs of metrics."""
    start_trial(results, trial, 2, outcome="COMPLETE", ended_at="2026-01-02T03:05:05+00:00")
    record = replace(make_record(trial, acc), **changes)
    durable.write_sealed_json(results.trial(trial.trial_id).record_file, dataclasses.asdict(record))
    return record


def make_record(trial: Trial, test_acc: float = 0.5) -> TrialRecord:
    return TrialRecord(
        trial_id=trial.trial_id,
        state=State.COMPLETE,
        trial=trial.canonical(),
        num_params=1000,
        flops=2_000_000,
        num_epochs=2,
        val_loss=1.5,
        val_acc=test_acc + 0.01,
        test_loss=1.6,
        test_acc=test_acc,
        num_test_images=100,
        weights_sha256="0" * 64,
        diverged=None,
        wall_time_s=4.0,
        train_time_s=3.0,
        peak_memory_mib=100.0,
        num_attempts=1,
        provenance=Provenance(
            git_commit="c" * 40,
            git_dirty=False,
            code_fingerprint="f",
            versions={},
            device="cpu: c",
            host="h",
            command="orch run s.yaml",
            data_fingerprint="d",
            executor="serial",
            started_at=START,
            ended_at="2026-01-02T03:05:05+00:00",
        ),
    )


def diverge_trial(results: ResultsDir, trial: Trial) -> TrialRecord:
    ends = {"val_loss": None, "val_acc": None, "test_loss": None, "test_acc": None, "weights_sha256": None}
    return finish_trial(results, trial, state=State.DIVERGED, diverged="the training loss became nan", **ends)


def make_sweep(results: ResultsDir, index: SweepIndex, accs: Sequence[float] = ()) -> list[Trial]:
    """An index and, for each accuracy, a finished trial; returns all trials of the index."""
    write_index(results, index)
    trials = trials_of(index)
    for trial, acc in zip(trials, accs, strict=False):
        finish_trial(results, trial, acc)
    return trials
