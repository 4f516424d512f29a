"""A number of trials in; a results root with one finished sweep of that size out, file by file as a run leaves it.

The product's own writing code makes the files; only the flush to disk is left out, because nothing here is precious.
Of a trial's folder the checkpoints, which no reader of finished trials opens, are missing.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.simulated_sweeps import DIGITS, simulate
from orchestrator import cost, durable, provenance
from orchestrator.grid import Grid, expand_grid
from orchestrator.record import Attempt, EpochMetrics, Provenance, State, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.spec import loads_spec
from orchestrator.trial import Cell, Trial
from orchestrator.tuning.search_phase import write_snapshot
from orchestrator.tuning.survey import build_index
from orchestrator.views.replicates import Replicates

SWEEP = "scale"
NUM_SEEDS = 10
NUM_EPOCHS = 3
DEPTHS = (4, 8, 12, 16, 20, 24, 28, 32)
ATTENTIONS = ("self", "reattention", "mix_only", "batchnorm_only", "talking_heads")
WIDTHS = (16, 24, 32, 48, 64)
CELLS_AT_ONCE = 50
NOON = "2026-01-01T12:00:00+00:00"


def spec_text(num_trials: int, *, tracking: bool = False) -> str:
    """A spec of about this many trials: up to 8 depths, 5 attentions, 5 widths, as many learning rates as it takes, and
    10 seeds of each.
    """
    left = max(1, num_trials // NUM_SEEDS)
    sizes = []
    for longest in (len(DEPTHS), len(ATTENTIONS), len(WIDTHS)):
        sizes.append(min(longest, left))
        left //= sizes[-1]
    rates = ", ".join(f"{1e-4 * 1.08**number:.4e}" for number in range(max(1, left)))
    return f"""\
# Question: how long does a sweep of {num_trials:,} trials take to read?
name: {SWEEP}
axes:
  depth: {list(DEPTHS[: sizes[0]])}
  attention: [{", ".join(ATTENTIONS[: sizes[1]])}]
  embed_dim: {list(WIDTHS[: sizes[2]])}
  lr: [{rates}]
seeds: {NUM_SEEDS}
model: {{num_heads: 4, patch_size: 2, mlp_ratio: 2.0}}
data: {{name: digits}}
train: {{epochs: {NUM_EPOCHS}, batch_size: 64}}
tracking: {{mlflow: {str(tracking).lower()}}}
"""


def write_results(root: Path, num_trials: int, *, num_processes: int | None = None) -> tuple[Path, int]:
    """Write a sweep of about `num_trials` finished trials under `root`; the path of its spec, and their number.

    A root that was written before is taken as it is.
    """
    text = spec_text(num_trials)
    spec = loads_spec(text)
    grid: Grid = expand_grid(spec)
    results = ResultsDir(root)
    path = root / f"{SWEEP}.yaml"
    if path.exists() and path.read_text() == text:  # it is written last
        return path, len(grid.trials)
    starts = range(0, len(grid.cells), CELLS_AT_ONCE)
    chunks = [(root, start, grid.cells[start : start + CELLS_AT_ONCE]) for start in starts]
    with ProcessPoolExecutor(num_processes or os.cpu_count()) as pool:
        for _ in pool.map(_write_cells, *zip(*chunks, strict=True)):
            pass
    write_snapshot(results.sweep(SWEEP), spec, build_index(spec, grid))
    path.write_text(text)
    return path, len(grid.trials)


def _write_cells(root: Path, number: int, cells: Sequence[Cell]) -> None:
    """Finish the trials of `cells`, whose accuracies grow with depth and level off."""
    rng = np.random.default_rng(number)
    results = ResultsDir(root)
    truths = [_true_accuracy(cell.trials[0]) for cell in cells]
    with _unflushed():
        for cell, scored in zip(cells, simulate(rng, truths, NUM_SEEDS, DIGITS), strict=True):
            for row, trial in enumerate(cell.trials):
                _finish(results.trial(trial.trial_id), trial, scored, row)


def _true_accuracy(trial: Trial) -> float:
    model = trial.model
    gain = 0.03 if model.attention == "reattention" else 0.01 * ATTENTIONS.index(model.attention)
    return 0.75 + 0.12 * (1.0 - np.exp(-model.depth / 10.0)) + gain + 0.0005 * model.embed_dim


def _finish(folder: TrialFolder, trial: Trial, scored: Replicates, row: int) -> None:
    assert scored.is_correct is not None
    is_correct, acc = scored.is_correct[row], float(scored.accs[row])
    rows = [
        EpochMetrics(
            epoch=epoch,
            train_loss=2.3 / epoch,
            val_loss=2.4 / epoch,
            val_acc=acc * epoch / NUM_EPOCHS,
            lr=trial.train.lr,
            wall_time_s=0.05 * trial.model.depth,
        )
        for epoch in range(1, NUM_EPOCHS + 1)
    ]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, is_correct=np.packbits(is_correct), num_images=len(is_correct))
    durable.write_json(folder.trial_file, trial.canonical())
    durable.write_text(folder.metrics_file, "".join(durable.seal_line(dataclasses.asdict(one)) + "\n" for one in rows))
    durable.write_sealed_json(folder.attempt_file(1), dataclasses.asdict(_attempt()))
    folder.log_file(1).write_text(f"{NOON} INFO trial {trial.trial_id} ({trial.label}), attempt 1\n")
    durable.write_bytes(folder.predictions_file, buffer.getvalue())
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(_record(trial, rows, acc, len(is_correct))))


def _attempt() -> Attempt:
    return Attempt(
        number=1,
        host=provenance.host(),
        process=1,
        device=f"cpu: {provenance.cpu_name()}",
        code_fingerprint=provenance.code_fingerprint(),
        versions=provenance.versions(),
        started_at=NOON,
        ended_at=NOON,
        wall_time_s=1.0,
        outcome="COMPLETE",
    )


def _record(trial: Trial, rows: Sequence[EpochMetrics], acc: float, num_images: int) -> TrialRecord:
    train_time_s = sum(row.wall_time_s for row in rows)
    return TrialRecord(
        trial_id=trial.trial_id,
        state=State.COMPLETE,
        trial=trial.canonical(),
        num_params=cost.num_params(trial),
        flops=cost.flops(trial),
        num_epochs=len(rows),
        val_loss=rows[-1].val_loss,
        val_acc=rows[-1].val_acc,
        test_loss=0.4,
        test_acc=acc,
        num_test_images=num_images,
        weights_sha256=durable.sha256(trial.trial_id.encode()),
        diverged=None,
        wall_time_s=train_time_s + 0.5,
        train_time_s=train_time_s,
        peak_memory_mib=400.0,
        num_attempts=1,
        provenance=Provenance(
            git_commit="0123456789abcdef0123456789abcdef01234567",
            git_dirty=False,
            code_fingerprint=provenance.code_fingerprint(),
            versions=provenance.versions(),
            device=f"cpu: {provenance.cpu_name()}",
            host=provenance.host(),
            command=f"orch run {SWEEP}.yaml",
            data_fingerprint="0123456789abcdef",
            executor="ray_tune",
            started_at=NOON,
            ended_at=NOON,
        ),
    )


@contextmanager
def _unflushed() -> Iterator[None]:
    """Writing as ever, but that nothing waits for the disk."""
    with mock.patch("os.fsync", _do_not_wait):
        yield


def _do_not_wait(descriptor: int) -> None:
    """In the place of fsync; quicker than a mock, which keeps note of every call."""
