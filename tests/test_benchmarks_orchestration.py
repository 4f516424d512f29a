"""The benchmark of orchestration: every peer trains the same trials, and the table says what each took."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.orchestration import ORCH, SPEC, START, Run, make_table, measure
from benchmarks.orchestration_peers import PEERS, train_one, trials_of
from orchestrator.grid import expand_grid
from orchestrator.results import ResultsDir
from orchestrator.spec import load_spec
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import run_sweep


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.format(depths=[1], seeds=1, epochs=1))
    return path


def test_a_peer_trains_a_trial_as_orch_does(spec: Path, tmp_path: Path) -> None:
    trial = trials_of(spec)[0]
    results = ResultsDir(tmp_path / "results")
    spec_of = load_spec(spec)
    run_sweep(spec_of, expand_grid(spec_of), results, RunOptions(executor="serial"))
    record = results.trial(trial.trial_id).read_record()
    assert record is not None
    assert train_one(trial, tmp_path) == record.test_acc
    assert json.loads((tmp_path / f"{trial.trial_id}.json").read_text())["train_time_s"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("peer", [ORCH, *PEERS])
def test_every_peer_trains_every_trial(spec: Path, tmp_path: Path, peer: str) -> None:
    found = measure(peer, spec, tmp_path / "folder")
    assert found.wall_s > found.by_slot_s > 0
    assert (found.first_epoch_s is not None) == (peer == ORCH)


@pytest.mark.slow
def test_a_peer_that_loses_a_trial_is_told(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.orchestration.trials_of", lambda path: trials_of(path) * 2)
    with pytest.raises(SystemExit, match="trained 2 trials and ended with 0"):
        measure("shell loop", spec, tmp_path / "folder")


def test_the_table_holds_medians_and_what_is_left_without_the_start() -> None:
    found = {
        ORCH: [Run(110.0, 90.0, 12.0), Run(120.0, 100.0, 13.0), Run(400.0, 110.0, 25.0)],
        START: [Run(11.0, 1.0), Run(16.0, 1.0), Run(12.0, 1.0)],
        "shell loop": [Run(220.0, 100.0), Run(120.0, 100.0), Run(400.0, 100.0)],
    }
    table = make_table(found)
    assert "| orch run | 120.0 | 100.0 | 1.22 | 1.00 |" in table
    assert "| shell loop | 220.0 | 100.0 | 2.20 | 1.00 |" in table
    assert "Start of Ray and imports: 11.0 s; `orch run` without it over the training: 1.100" in table
    assert "its first epoch was over 13.0 s after Enter" in table
