"""What a person should know of a run as a whole is kept with it, and told by `orch status` and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli import cli
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning import runner, serial
from orchestrator.tuning.events import Event, Notice, RunSettings
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import run_sweep
from orchestrator.views.caveats import find_all_caveats
from orchestrator.views.frames import read_frames
from tests.faults.crashing import TWO_TRIALS
from tests.tuning.sweeps import spec_and_grid

CLOSED = "node gpu7 (10.0.0.7) gets no more trials: 2 attempts failed there"


def test_a_closed_node_is_told_wherever_the_run_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event | Notice]:
        yield Notice(CLOSED)
        yield from serial.execute(trials, settings)

    monkeypatch.setattr(runner, "find_executor", lambda name: execute)
    spec, grid = spec_and_grid(TWO_TRIALS)
    results = ResultsDir(tmp_path / "results")
    summary = run_sweep(spec, grid, results, RunOptions(executor="serial"))
    assert summary.num_finished == 2
    assert [tuple(run.notices) for run in results.sweep("tiny").read_runs()] == [(CLOSED,)]
    words = ["status", "tiny", "--results", str(results.root)]
    shown, as_json = (CliRunner().invoke(cli, [*words, *more]).stdout for more in ([], ["--json"]))
    assert f"run 1: {CLOSED}" in " ".join(shown.split())
    assert json.loads(as_json)["notices"] == [f"run 1: {CLOSED}"]
    assert f"Run 1: {CLOSED}." in find_all_caveats(read_frames(results, "tiny"))
    run_sweep(spec, grid, results, RunOptions(executor="serial"))
    assert [tuple(run.notices) for run in results.sweep("tiny").read_runs()] == [(CLOSED,), ()]
