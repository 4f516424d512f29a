"""ray_tune.py: when Ray's processes die, the run ends with advice, leaves nothing behind and can go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning import ray_tune
from orchestrator.tuning.ray_trial import content_of
from tests.tuning.ray_processes import descendants
from tests.tuning.test_executors import settings_for, tiny

SPEC = """\
name: lost
axes: {depth: [2]}
model: {embed_dim: 16, num_heads: 2, patch_size: 4}
data: {name: digits}
train: {epochs: 60, batch_size: 64, lr: 2.0e-3}
tracking: {mlflow: false}
"""
ROOT = Path(__file__).parents[2]
SECONDS_TO_NOTICE = 45
"""What is promised is 15 s, on a machine that does nothing else."""


def orch_run(folder: Path) -> subprocess.Popen[str]:
    (folder / "spec.yaml").write_text(SPEC)
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "run", "spec.yaml", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def named(processes: list[int], name: str) -> int:
    return next(found for found in processes if Path(f"/proc/{found}/comm").read_text().strip() == name)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_tune_makes_a_trial_of_each_text_in_order_and_takes_none_apart(results: ResultsDir) -> None:
    from ray.tune.impl.placeholder import create_resolvers_map, inject_placeholders
    from ray.tune.search.variant_generator import generate_variants

    trials = [replace(tiny(), seed=seed) for seed in range(20)]
    settings = settings_for(results, trials, "ray_tune")
    tuner = ray_tune._build_tuner([(trial,) for trial in trials], settings, str(results.root), Any)
    given = tuner._local_tuner.param_space
    configs = inject_placeholders(given, create_resolvers_map())  # as the tuner does
    made = [variant["config"] for _, variant in generate_variants({"config": configs})]
    assert all(type(value) is str for config in made for value in config.values())
    assert [content_of(config)["trial_ids"] for config in made] == [[trial.trial_id] for trial in trials]
    assert [Trial.from_canonical(content_of(config)["trials"][0]) for config in made] == trials


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_a_run_whose_ray_dies_ends_with_advice_and_the_same_command_finishes_it(tmp_path: Path, victim: str) -> None:
    run = orch_run(tmp_path)
    assert run.stdout is not None
    for line in run.stdout:
        if json.loads(line)["event"] == "epoch":
            break
    below = descendants(run.pid)
    os.kill(named(below, victim), signal.SIGKILL)
    killed_at = time.monotonic()
    _, told = run.communicate(timeout=120)
    assert time.monotonic() - killed_at < SECONDS_TO_NOTICE
    assert run.returncode == 3, told
    assert "is gone" in told
    assert "go on with: orch run spec.yaml" in told
    ends = time.monotonic() + 30
    while any(is_running(process) for process in below):
        assert time.monotonic() < ends, "a process outlived the run"
        time.sleep(0.2)
    if victim == "raylet":
        again = orch_run(tmp_path)
        _, told = again.communicate(timeout=300)
        assert again.returncode == 0, told
        (folder,) = ResultsDir(tmp_path / "results").trials()
        attempts = folder.read_attempts()
        assert len(attempts) == 2
        assert attempts[1].started_from is not None
