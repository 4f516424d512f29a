"""Sweeps whose trials have finished with answers by image, as a run would have left them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator import durable
from orchestrator.record import SweepIndex, SweepMember
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from tests.views.sweep_builder import SweepBuilder, make_provenance, make_record, make_trial

Bits = Callable[[Trial], np.ndarray]


def score(sweep: SweepBuilder, trial: Trial, bits: np.ndarray, *, keeps: bool = True, **provenance: Any) -> None:
    """Leave the record of a trial that was right on `bits`, and, where it `keeps` them, its predictions."""
    acc = float(bits.mean())
    record = make_record(trial, test_acc=acc, num_test_images=len(bits), provenance=make_provenance(**provenance))
    sweep.finish(trial, record)
    if keeps:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, is_correct=np.packbits(bits), num_images=len(bits))
        durable.write_bytes(sweep.results.trial(trial.trial_id).predictions_file, buffer.getvalue())


def build_scored(
    root: Path,
    name: str,
    cells: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    bits: Bits,
    *,
    fixed: Mapping[str, Any] | None = None,
    keeps: bool = True,
    **provenance: Any,
) -> SweepBuilder:
    """Write a sweep over `cells` in which every trial has finished with `bits(trial)`.

    Args:
        fixed: fields of the configuration that are no axis.
    """
    pairs = [(cell, make_trial({**(fixed or {}), **cell}, seed)) for cell in cells for seed in seeds]
    members = tuple(
        SweepMember(trial_id=trial.trial_id, cell_id=trial.cell_id, seed=trial.seed, axes=dict(cell))
        for cell, trial in pairs
    )
    results = ResultsDir(root)
    index = SweepIndex(name=name, axes=tuple(cells[0]), members=members, question="")
    durable.write_sealed_json(results.sweep(name).trials_file, dataclasses.asdict(index))
    sweep = SweepBuilder(results, name, tuple(trial for _, trial in pairs))
    for trial in sweep.trials:
        score(sweep, trial, bits(trial), keeps=keeps, **provenance)
    return sweep


def drawn(acc: float, num_images: int = 400, gain: float = 0.0) -> Bits:
    """Answers drawn at random, `gain` better than `acc` at 12 blocks; every trial has draws of its own."""

    def bits(trial: Trial) -> np.ndarray:
        level = acc + (gain if trial.model.depth == 12 else 0.0)
        images = np.random.default_rng(0).random(num_images) * 0.1
        rng = np.random.default_rng((trial.seed, trial.model.depth, round(1e6 * trial.train.lr)))
        return rng.random(num_images) + images < level + 0.05

    return bits
