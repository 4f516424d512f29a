"""Predictions by image against the files that a run leaves, sound ones and others."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from orchestrator import durable
from orchestrator.trial import Trial
from orchestrator.views.predictions import read_is_correct, read_replicates, trials_without_predictions
from orchestrator.views.table import read_table
from tests.views.sweep_builder import SweepBuilder, build_sweep, diverged, make_provenance, make_record

NUM_IMAGES = 21
"""No multiple of 8, so the packed bits have a tail."""


def bits_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(NUM_IMAGES) < 0.8


def finish(sweep: SweepBuilder, trial: Trial, bits: np.ndarray, **provenance: str) -> None:
    """Leave the record of a trial that was right on `bits`, and its predictions."""
    record = make_record(trial, test_acc=float(bits.mean()), provenance=make_provenance(**provenance))
    sweep.finish(trial, record)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, is_correct=np.packbits(bits), num_images=len(bits))
    durable.write_bytes(sweep.results.trial(trial.trial_id).predictions_file, buffer.getvalue())


@pytest.fixture
def sweep(tmp_path: Path) -> SweepBuilder:
    """One cell of three seeds, finished from the last to the first."""
    built = build_sweep(tmp_path, {"depth": [12]})
    for trial in reversed(built.trials):
        finish(built, trial, bits_of(trial.seed))
    return built


def test_the_rows_are_the_bits_of_the_seeds_in_their_order(sweep: SweepBuilder) -> None:
    found = read_replicates(sweep.results, read_table(sweep.results, sweep.name))
    assert found is not None
    assert found.seeds == (0, 1, 2)
    assert found.is_correct is not None
    assert (found.is_correct == np.stack([bits_of(seed) for seed in range(3)])).all()
    assert found.test_set == "da7a:None"


def test_a_trial_that_the_mean_leaves_out_is_left_out(sweep: SweepBuilder) -> None:
    sweep.finish(sweep.trials[1], diverged(sweep.trials[1]))
    found = read_replicates(sweep.results, read_table(sweep.results, sweep.name))
    assert found is not None
    assert (found.seeds, found.num_images) == ((0, 2), NUM_IMAGES)


def test_a_cell_that_has_not_finished_scored_nothing(tmp_path: Path) -> None:
    built = build_sweep(tmp_path, {"depth": [12]})
    assert read_replicates(built.results, read_table(built.results, built.name)) is None


@pytest.mark.parametrize("damage", ["missing", "torn", "other", "text", "short"])
def test_one_trial_without_its_predictions_leaves_the_accuracies(sweep: SweepBuilder, damage: str) -> None:
    trial = sweep.trials[1]
    file = sweep.results.trial(trial.trial_id).predictions_file
    acc = float(bits_of(1).mean())
    if damage == "missing":
        file.unlink()
    elif damage == "torn":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "text":
        file.write_text("nothing")
    elif damage == "short":
        np.savez(file, is_correct=np.packbits(bits_of(1)), num_images=1000)
    else:
        np.savez(file, is_correct=np.packbits(~bits_of(1)), num_images=NUM_IMAGES)
    table = read_table(sweep.results, sweep.name)
    found = read_replicates(sweep.results, table)
    assert found is not None
    assert (found.num_images, found.seeds, found.accs[1]) == (None, (0, 1, 2), pytest.approx(acc))
    assert trials_without_predictions(sweep.results, table) == [trial.trial_id]
    assert read_is_correct(sweep.results.trial(trial.trial_id), acc) is None


def test_trials_of_two_test_sets_are_not_stacked(sweep: SweepBuilder) -> None:
    finish(sweep, sweep.trials[2], bits_of(2), data_fingerprint="other")
    found = read_replicates(sweep.results, read_table(sweep.results, sweep.name))
    assert found is not None
    assert (found.num_images, found.num_seeds) == (None, 3)
