"""Finished sweeps with predictions by image and probes, made of files alone; what they hold is known."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator import durable
from orchestrator.probe_catalog import PROBES
from orchestrator.trial import Trial
from tests.views.sweep_builder import SweepBuilder, build_sweep, make_record

NUM_IMAGES = 400
EPOCHS = (0, 4)
"""Probed moments: the untrained network and the final one."""


def usual_acc(trial: Trial) -> float:
    """Self-attention has its 80 % from 12 blocks on, Re-attention goes on gaining."""
    depth, gain = trial.model.depth, 0.0 if trial.model.attention == "self" else 0.01
    plateau = 12 if trial.model.attention == "self" else 99
    return 0.7 + 0.01 * min(depth, plateau) - 0.02 + gain


def build_answered(
    root: Path,
    axes: Mapping[str, Sequence[Any]],
    *,
    seeds: int = 6,
    acc_of: Callable[[Trial], float] = usual_acc,
    num_images: int = NUM_IMAGES,
    has_probes: bool = True,
    **options: Any,
) -> SweepBuilder:
    """A sweep whose every trial has a record, three epochs, predictions, and probes of two moments."""
    sweep = build_sweep(root, axes, seeds=seeds, **options)
    for trial in sweep.trials:
        bits = draw_bits(trial, acc_of(trial), num_images)
        sweep.train(trial, [0.5, 0.7, float(bits.mean())])
        record = make_record(trial, test_acc=float(bits.mean()), val_acc=float(bits.mean()), num_test_images=num_images)
        sweep.finish(trial, record)
        write_predictions(sweep, trial, bits)
        if has_probes:
            write_probes(sweep, trial)
    return sweep


def draw_bits(trial: Trial, acc: float, num_images: int) -> NDArray[np.bool_]:
    """[images] right or wrong: images differ in difficulty, seeds and cells in luck."""
    difficulty = np.random.default_rng(1).normal(size=num_images)
    luck = np.random.default_rng([trial.seed, trial.model.depth, len(trial.model.attention)])
    ability = difficulty + 0.4 * luck.normal(size=num_images)
    return np.asarray(np.argsort(np.argsort(ability)) < round((acc + 0.004 * luck.normal()) * num_images))


def write_predictions(sweep: SweepBuilder, trial: Trial, bits: NDArray[np.bool_]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, is_correct=np.packbits(bits), num_images=len(bits))
    durable.write_bytes(sweep.results.trial(trial.trial_id).predictions_file, buffer.getvalue())


def write_probes(sweep: SweepBuilder, trial: Trial, **changes: NDArray[np.float64]) -> None:
    """Probes in which maps grow unlike with training; `changes` replaces whole arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{**make_probes(trial), **changes})
    durable.write_bytes(sweep.results.trial(trial.trial_id).probes_file, buffer.getvalue())


def make_probes(trial: Trial) -> dict[str, NDArray[np.float64]]:
    """Every array of the catalog, [E, ...]; self-attention has no Theta."""
    num_blocks, num_heads = trial.model.depth, trial.model.num_heads
    rng = np.random.default_rng([trial.seed, num_blocks, len(trial.model.attention)])
    sizes = {"L": num_blocks, "H": num_heads}
    arrays = {}
    for name, info in PROBES.items():
        shape = (len(EPOCHS), *(sizes[axis] for axis in info.dims))
        arrays[name] = 0.5 + 0.02 * rng.normal(size=shape)
        if name.startswith(("theta", "batchnorm")) and trial.model.attention == "self":
            arrays[name][:] = np.nan
    distance = np.abs(np.subtract.outer(np.arange(num_blocks), np.arange(num_blocks)))
    for name, array in arrays.items():
        if name.startswith("map_similarity"):
            top = 0.05 if name.endswith("centred") else 0.99
            array[0] = np.where(distance == 0, 1.0, top)
            decay = 0.1 * (1 + len(trial.model.attention) % 3)
            array[1] = np.where(distance == 0, 1.0, top * np.exp(-decay * distance) + 0.01 * rng.normal())
        if name.startswith("similar_blocks"):
            array[:] = [num_blocks - 1, num_blocks // 2]
        if name.startswith("similar_share"):
            array[:, 0] = np.nan
    arrays["skip_acc_drop"][0] = np.nan
    return arrays | {"epoch": np.array(EPOCHS, dtype=np.float64), "num_images": np.full(len(EPOCHS), 128.0)}


def change_record(sweep: SweepBuilder, trial: Trial, **changes: Any) -> None:
    """Write the trial's record again with other fields."""
    record = sweep.results.trial(trial.trial_id).read_record()
    assert record is not None
    sweep.finish(trial, dataclasses.replace(record, **changes))
