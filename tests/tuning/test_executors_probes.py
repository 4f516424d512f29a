"""What an attempt leaves of its probes, on every executor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from orchestrator import provenance
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.grid import expand_grid
from orchestrator.grids.sweep_spec import Probe
from orchestrator.probe_catalog import PROBES
from orchestrator.record import State
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.trial import Trial
from orchestrator.tuning.attempt import run_attempt
from orchestrator.tuning.events import RunSettings, TrialEnded, dataset_key
from orchestrator.tuning.sweep import RunOptions, run_sweep
from tests.tuning.sweeps import TEXT, spec_and_grid

PROBE = Probe(images=12, epochs=(1,), skip_images=8)
TIMES = {"probe_time_s", "skip_time_s"}


def trial_of(**train) -> Trial:
    return Trial(
        model=ModelConfig(depth=2, embed_dim=16, num_heads=2, patch_size=4, img_size=8, attention="reattention"),
        data=DataConfig(name="digits", num_classes=10, in_chans=1, test_fraction=0.2),
        train=TrainConfig(**({"epochs": 2, "batch_size": 64, "lr": 2e-3} | train)),
        seed=0,
    )


def settings_for(results: ResultsDir, trial: Trial, **changes) -> RunSettings:
    settings = RunSettings(
        results_root=results.root, stop_file=results.root / "stop", executor="serial", probe=PROBE,
        data_fingerprints={dataset_key(trial): "d"}, roots={dataset_key(trial): None},
    )  # fmt: skip
    return replace(settings, **changes)


def run(trial: Trial, settings: RunSettings, *, stop_after: int | None = None) -> TrialEnded | None:
    attempt = run_attempt(trial, settings)
    for number in range(100):
        try:
            next(attempt)
        except StopIteration as stop:
            return stop.value
        if number + 1 == stop_after:
            attempt.close()
            return None
    raise AssertionError("the trial does not end")


def probes_of(folder: TrialFolder) -> dict[str, np.ndarray]:
    with np.load(folder.probes_file, allow_pickle=False) as content:
        return dict(content)


def test_a_finished_trial_has_every_moment_in_one_file_and_its_cost_in_the_record(results: ResultsDir) -> None:
    trial = trial_of()
    run(trial, settings_for(results, trial))
    folder = results.trial(trial.trial_id)
    record, probes = folder.read_record(), probes_of(folder)
    assert record is not None
    assert probes.keys() == PROBES.keys()
    assert probes["epoch"].tolist() == [0.0, 1.0, 2.0]
    for name, info in PROBES.items():
        assert probes[name].shape == (3, *(2 for _ in info.dims)), name
    assert record.probe_time_s == pytest.approx(probes["probe_time_s"].sum())
    assert record.skip_time_s == pytest.approx(probes["skip_time_s"].sum())
    assert record.skip_time_s > 0
    assert not folder.probes.exists()


def test_probes_survive_an_interruption_bit_by_bit(results: ResultsDir, tmp_path) -> None:
    trial, whole = trial_of(), ResultsDir(tmp_path / "whole")
    run(trial, settings_for(whole, trial))
    settings = settings_for(results, trial)
    assert run(trial, settings, stop_after=1) is None
    ended = run(trial, settings)
    assert ended is not None
    assert ended.state is State.COMPLETE
    found, expected = probes_of(results.trial(trial.trial_id)), probes_of(whole.trial(trial.trial_id))
    for name in found.keys() - TIMES:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_trial_that_is_not_probed_has_no_file_and_no_cost(results: ResultsDir) -> None:
    trial = trial_of(epochs=1)
    run(trial, settings_for(results, trial, probe=None))
    folder = results.trial(trial.trial_id)
    record = folder.read_record()
    assert record is not None
    assert (record.probe_time_s, record.skip_time_s) == (None, None)
    assert not folder.probes_file.exists()


def test_probing_is_no_part_of_a_trials_identity(results: ResultsDir) -> None:
    """A finished trial is reused as it is, whatever a later run would have probed."""
    trial = trial_of(epochs=1)
    first = run(trial, settings_for(results, trial, probe=None))
    again = run(trial, settings_for(results, trial))
    assert first is not None
    assert again is not None
    assert again.record == first.record
    assert not results.trial(trial.trial_id).probes_file.exists()


def test_a_trial_that_is_trained_anew_is_probed_anew(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, _ = spec_and_grid(TEXT.replace("[1, 2]", "[1]").replace("[self, reattention]", "[self]"))
    spec = replace(spec, seeds=(0,), probe=Probe(images=8, skip_images=0))
    grid = expand_grid(spec)
    (trial,) = grid.trials
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "before")
    run_sweep(spec, grid, results, RunOptions(executor="serial"))
    folder = results.trial(trial.trial_id)
    first = folder.probes_file.read_bytes()
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "after")
    off = replace(spec, probe=Probe(enabled=False))
    run_sweep(off, grid, results, RunOptions(executor="serial", retrain_changed=True))
    assert not folder.probes_file.exists()
    run_sweep(spec, grid, results, RunOptions(executor="serial"))
    assert not folder.probes_file.exists(), "a finished trial is not probed later"
    assert len(first) > 0


def test_a_diverged_trial_keeps_the_moments_before_it_diverged(results: ResultsDir) -> None:
    trial = trial_of(optimizer="sgd", lr=1e30)
    ended = run(trial, settings_for(results, trial))
    assert ended is not None
    assert ended.state is State.DIVERGED
    probes = probes_of(results.trial(trial.trial_id))
    assert probes["epoch"].tolist() == [0.0]
    assert ended.record is not None
    assert ended.record.probe_time_s == pytest.approx(float(probes["probe_time_s"][0]))
