"""Sweeps made of files alone, as a run would have left them, and tables made of rows alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator import durable
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.record import Attempt, EpochMetrics, Provenance, State, SweepIndex, SweepMember, TrialRecord
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.views.table import COLUMN_TYPES

VERSIONS = {"orch": "0.1.0", "python": "3.11.2", "torch": "2.15.0", "timm": "1.0.31"}


def make_trial(axes: Mapping[str, Any], seed: int, protocol: int = 1) -> Trial:
    """A small trial with the fields that `axes` name, and defaults elsewhere."""
    model = {"depth": 12, "embed_dim": 48, "num_heads": 4, "patch_size": 2, "img_size": 8, "attention": "self"}
    train = {"epochs": 4, "batch_size": 64, "lr": 2e-3}
    for axis, value in axes.items():
        name = axis.rpartition(".")[2]
        if value is not None:
            (model if name in {f.name for f in dataclasses.fields(ModelConfig)} else train)[name] = value
    data = DataConfig(name="digits", num_classes=10, in_chans=1)
    return Trial(model=ModelConfig(**model), data=data, train=TrainConfig(**train), seed=seed, protocol=protocol)


def make_provenance(**changes: Any) -> Provenance:
    content: dict[str, Any] = {
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "git_dirty": False,
        "code_fingerprint": "c0de",
        "versions": VERSIONS,
        "device": "cpu (8 cores)",
        "host": "lab-3",
        "command": "orch run depth_sweep.yaml",
        "data_fingerprint": "da7a",
        "executor": "serial",
        "started_at": "2026-01-01T00:00:00Z",
        "ended_at": "2026-01-01T00:01:00Z",
    }
    return Provenance(**{**content, **changes})


def make_record(trial: Trial, **changes: Any) -> TrialRecord:
    depth = trial.model.depth
    content: dict[str, Any] = {
        "trial_id": trial.trial_id,
        "state": State.COMPLETE,
        "trial": trial.canonical(),
        "num_params": 9_000 + 21_000 * depth * trial.model.embed_dim**2 // 48**2,
        "flops": 700_000 * depth,
        "num_epochs": 4,
        "val_loss": 0.4,
        "val_acc": 0.9,
        "test_loss": 0.4,
        "test_acc": 0.9,
        "num_test_images": 360,
        "weights_sha256": "ab",
        "diverged": None,
        "wall_time_s": 12.5,
        "train_time_s": 12.0,
        "peak_memory_mib": 310.0,
        "num_attempts": 1,
        "provenance": make_provenance(),
    }
    return TrialRecord(**{**content, **changes})


def diverged(trial: Trial, **changes: Any) -> TrialRecord:
    """The record of a trial whose loss stopped being a number."""
    nothing = dict.fromkeys(("val_loss", "val_acc", "test_loss", "test_acc", "weights_sha256"))
    seen = "the training loss became nan in epoch 2 at step 7"
    content = {"state": State.DIVERGED, "num_epochs": 1, "num_test_images": 0, "diverged": seen, **nothing}
    return make_record(trial, **{**content, **changes})


@dataclasses.dataclass(frozen=True)
class SweepBuilder:
    """Writes one sweep; `trials` are those of its index, cell by cell."""

    results: ResultsDir
    name: str
    trials: tuple[Trial, ...]

    def finish(self, trial: Trial, record: TrialRecord | None = None) -> None:
        """Leave the files of a finished trial."""
        record = record or make_record(trial)
        self.begin(trial)
        self.end_attempt(trial, 1, str(record.state))
        durable.write_sealed_json(self.results.trial(trial.trial_id).record_file, dataclasses.asdict(record))

    def begin(self, trial: Trial) -> None:
        """Leave the files of a trial that has just started."""
        folder = self.results.trial(trial.trial_id)
        durable.write_json(folder.trial_file, trial.canonical())
        self.end_attempt(trial, 1, None)

    def end_attempt(self, trial: Trial, number: int, outcome: str | None, error: str | None = None) -> None:
        folder = self.results.trial(trial.trial_id)
        attempt = Attempt(
            number=number,
            host="lab-3",
            process=7,
            device="cpu (8 cores)",
            code_fingerprint="c0de",
            versions=VERSIONS,
            started_at="2026-01-01T00:00:00Z",
            outcome=outcome,
            error=error,
        )
        durable.write_sealed_json(folder.attempt_file(number), dataclasses.asdict(attempt))

    def train(self, trial: Trial, val_accs: Sequence[float | None]) -> None:
        """Leave one row of metrics for each value."""
        folder = self.results.trial(trial.trial_id)
        for epoch, val_acc in enumerate(val_accs, 1):
            val_loss = None if val_acc is None else 1.2 - val_acc
            row = EpochMetrics(
                epoch=epoch, train_loss=2.3 / epoch, val_loss=val_loss, val_acc=val_acc, lr=1e-3, wall_time_s=1.0
            )
            durable.append_line(folder.metrics_file, json.dumps(dataclasses.asdict(row)))


def build_sweep(
    root: Path,
    axes: Mapping[str, Sequence[Any]],
    *,
    seeds: int = 3,
    name: str = "depth_sweep",
    question: str = "How deep can it usefully be?",
    cells: Sequence[Mapping[str, Any]] | None = None,
) -> SweepBuilder:
    """Write the index of the full grid over `axes`, or of `cells`; no trial is written."""
    grid = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if cells is None else cells
    pairs = [(cell, make_trial(cell, seed)) for cell in grid for seed in range(seeds)]
    members = tuple(
        SweepMember(trial_id=trial.trial_id, cell_id=trial.cell_id, seed=trial.seed, axes=dict(cell))
        for cell, trial in pairs
    )
    index = SweepIndex(name=name, axes=tuple(axes), members=members, question=question)
    results = ResultsDir(root)
    durable.write_sealed_json(results.sweep(name).trials_file, dataclasses.asdict(index))
    return SweepBuilder(results, name, tuple(trial for _, trial in pairs))


def make_table(rows: Sequence[Mapping[str, Any]], axes: Sequence[str] = ("depth", "attention")) -> pd.DataFrame:
    """A frame as `read_table` makes it; each row names what differs from a COMPLETE trial of a small cell."""
    usual = {"state": "COMPLETE", "depth": 12, "attention": "self", "embed_dim": 48, "num_heads": 4, "seed": 0}
    usual |= {"test_acc": 0.9, "val_acc": 0.9, "protocol": 1, "code_fingerprint": "c0de", "device": "cpu"}
    usual |= {"num_params": 1000, "flops": 2000, "num_test_images": 360, "num_attempts": 1, "num_epochs": 4}
    usual |= {"num_packed": 1}
    full = []
    for number, row in enumerate(rows):
        content = {**usual, "trial_id": f"t{number}", **row}
        cell = f"depth {content['depth']}, {content['attention']}"
        full.append({"cell_id": cell, "label": cell, "curve": content["attention"], **content})
    columns = {name: pd.Series([row.get(name) for row in full], dtype=kind) for name, kind in COLUMN_TYPES.items()}
    table = pd.DataFrame(columns)
    curves = {row["curve"]: {"attention": row["attention"]} for row in full}
    table.attrs = {"sweep": "made", "question": "", "axes": list(axes), "curves": curves, "notices": []}
    return table
