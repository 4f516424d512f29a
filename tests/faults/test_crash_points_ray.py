"""On Ray: each kind of file tears once and is the last once, and the same command ends as one never touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import provenance
from orchestrator.results import ResultsDir
from tests.faults.crash_once.sitecustomize import CRASHED
from tests.faults.crashing import TWO_TRIALS, in_child, leftovers, numbers_of, run_to_end
from tests.markdown_pages import ROOT
from tests.tuning.sweeps import spec_and_grid

OF_A_TRIAL = (
    ("replace", "trial.json"),
    ("link", "attempts/1.json"),
    ("replace", "attempts/1.json"),
    ("fsync", "metrics.jsonl"),
    ("replace", "probes/0.npz"),
    ("rename", "checkpoints/1-0"),
    ("rename", "checkpoints/final"),
    ("replace", "predictions.npz"),
    ("replace", "probes.npz"),
    ("replace", "record.json"),
)
OF_THE_DRIVER = (
    ("link", "runs/1.json"),
    ("replace", "sweeps/tiny/spec.yaml"),
    ("replace", "sweeps/tiny/trials.json"),
    ("replace", ".yaml"),
)
MOMENTS = ("before", "after")
TEXT = TWO_TRIALS + f"seeds: {len(OF_A_TRIAL)}\n"


def plan() -> list[list[str]]:
    """A crash for each trial, each at another point, and those of the driver."""
    points = [(call, name, moment) for call, name in OF_A_TRIAL for moment in MOMENTS]
    trials = spec_and_grid(TEXT)[1].trials
    of_trials = [
        [call, f"{trial.trial_id}/{name}", moment] for trial, (call, name, moment) in zip(trials, points, strict=True)
    ]
    of_driver = [[call, name, moment] for call, name in OF_THE_DRIVER for moment in MOMENTS]
    of_all = ["replace", f"code/{provenance.code_fingerprint()}.json", "before"]  # a trial that dies three times FAILs
    return [*of_driver, of_all, *of_trials]


def orch_run(folder: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(map(str, (ROOT / "tests/faults/crash_once", ROOT)))
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "run", "tiny.yaml"],
        cwd=folder, env={**os.environ, "PYTHONPATH": paths, "ORCH_CRASH_PLAN": str(folder / "crashes")},
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_after_a_crash_at_each_kind_of_file_a_sweep_on_ray_ends_as_one_never_touched(tmp_path: Path) -> None:
    (tmp_path / "crashes").mkdir()
    (tmp_path / "tiny.yaml").write_text(TEXT)
    entries = plan()
    (tmp_path / "crashes/plan.json").write_text(json.dumps(entries))
    codes = []
    for _ in range(2 * len(OF_THE_DRIVER) + 1):
        done = orch_run(tmp_path)
        codes.append(done.returncode)
        assert done.returncode in (0, CRASHED), done.stderr
        if done.returncode == 0:
            break
    assert codes == [CRASHED] * 2 * len(OF_THE_DRIVER) + [0], codes
    fired = {path.name for path in (tmp_path / "crashes").iterdir()} - {"plan.json"}
    assert [entry for number, entry in enumerate(entries) if str(number) not in fired] == []
    assert orch_run(tmp_path).returncode == 0  # takes away what a dead worker left in the folder of all sweeps
    results, whole = ResultsDir(tmp_path / "results"), ResultsDir(tmp_path / "whole")
    assert leftovers(results) == []
    assert in_child(lambda: run_to_end(whole, TEXT), tmp_path / "child")() == 0
    assert numbers_of(results, TEXT) == numbers_of(whole, TEXT)
    num_attempts = [len(folder.read_attempts()) for folder in results.trials()]
    assert sum(num_attempts) <= 2 * len(num_attempts) + 1  # the code's file is written by whoever is first
