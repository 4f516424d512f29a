"""calibration.py and forecast.py: cells are priced before anything was trained, and what was trained counts more."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from orchestrator import provenance
from orchestrator.grids.sweep_spec import Resources
from orchestrator.results import ResultsDir
from orchestrator.training import epoch_time
from orchestrator.trial import Trial
from orchestrator.tuning import calibration
from orchestrator.tuning.calibration import calibrate, ends_of_families, known_calibrations
from orchestrator.tuning.cold_times import ColdTimes
from orchestrator.tuning.events import RunSettings
from orchestrator.tuning.forecast import TimesByDevice, forecast
from orchestrator.tuning.plan import build_plan, trials_by_device
from orchestrator.tuning.timing import ExpectedTime
from tests.tuning.sweeps import TEXT, spec_and_grid, write_record

DEPTHS = TEXT.replace("depth: [1, 2]", "depth: [1, 2, 3]")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """An epoch takes 1 s and 2 s a block; the trials that were timed."""
    timed: list[Trial] = []

    def measure(trial: Trial, device: str, budget_s: float) -> epoch_time.EpochTime:
        timed.append(trial)
        return epoch_time.EpochTime(1.0 + 2.0 * trial.model.depth, 0.1, 10)

    monkeypatch.setattr(epoch_time, "measure_epoch", measure)
    return timed


def quiet(text: str) -> None:
    pass


def settings_of(results: ResultsDir) -> RunSettings:
    return RunSettings(
        results_root=results.root, stop_file=results.root / "stop", executor="serial", data_fingerprints={}, roots={}
    )


def test_the_ends_of_each_family_are_timed_and_price_every_depth(results: ResultsDir, measured: list[Trial]) -> None:
    spec, grid = spec_and_grid(DEPTHS)
    (trials,) = trials_by_device(spec, grid).values()
    calibrate(trials, "cpu", quiet)
    assert sorted((trial.model.attention, trial.model.depth) for trial in measured) == [
        ("reattention", 1), ("reattention", 3), ("self", 1), ("self", 3),
    ]  # fmt: skip
    for cell in build_plan(spec, grid, results).cells:
        assert cell.trial_time_s == pytest.approx((1.0 + 2.0 * cell.axes["depth"]) * grid.trials[0].train.epochs)


def test_what_was_trained_counts_more_than_what_was_timed(results: ResultsDir, measured: list[Trial]) -> None:
    _, grid = spec_and_grid(DEPTHS)
    calibrate([cell.trials[0] for cell in grid.cells], "cpu", quiet)
    trained = grid.trials[0]
    record = write_record(results, trained, train_time_s=70.0, num_epochs=7)
    times = TimesByDevice(results, {}).of(Resources())
    assert times.epoch_s(trained) == pytest.approx(10.0)
    other = next(trial for trial in grid.trials if trial.model.attention != trained.model.attention)
    assert times.epoch_s(other) == pytest.approx(1.0 + 2.0 * other.model.depth)
    found = forecast([trained, other], [record], settings_of(results))
    assert found[trained.trial_id].seconds == pytest.approx(10.0 * trained.train.epochs)
    assert found[other.trial_id].seconds == pytest.approx((1.0 + 2.0 * other.model.depth) * other.train.epochs)
    assert not any(one.is_rough for one in found.values())


def test_where_nothing_is_known_this_processor_tells_and_a_cluster_does_not(results: ResultsDir) -> None:
    _, grid = spec_and_grid()
    settings = settings_of(results)
    found = forecast(grid.trials, [], settings)
    assert found == {
        trial.trial_id: ExpectedTime(ColdTimes().trial_s(trial) or 0.0, is_rough=True) for trial in grid.trials
    }
    assert forecast(grid.trials, [], dataclasses.replace(settings, address="ray://head:10001")) == {}


def test_the_newest_of_a_trial_is_kept_and_other_versions_and_damage_are_not_read(
    measured: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = spec_and_grid()[1].trials[0]
    calibrate([trial], "cpu", quiet)
    calibrate([trial], "cpu", quiet)
    (one,) = known_calibrations()
    assert one.device == f"cpu: {provenance.cpu_name()}"
    with monkeypatch.context() as other:
        other.setattr(provenance, "versions", lambda: {"torch": "9.9", "timm": "9.9"})
        assert known_calibrations() == []
    (path,) = calibration._folder().glob("*.json")
    path.write_text(path.read_text().replace('"num_steps": 10', '"num_steps": 11'))
    assert known_calibrations() == []


def test_one_seed_stands_for_a_cell_and_one_depth_for_a_family_of_one() -> None:
    trials = [trial for trial in spec_and_grid()[1].trials if trial.model.depth == 1]
    assert [(trial.model.attention, trial.seed) for trial in ends_of_families(reversed(trials))] == [
        ("reattention", 0), ("self", 0),
    ]  # fmt: skip
