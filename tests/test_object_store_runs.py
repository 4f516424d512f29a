"""`orch run` with a results root on an object store: what Ray trains there, and MLflow's store that is built anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run_command
from orchestrator.results import ResultsDir
from tests.s3_server import new_root, s3_server
from tests.trained_sweep import trial_ids

SPEC = """\
name: tiny
axes: {depth: [1, 2]}
seeds: 1
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 1.0}
data: {name: digits}
train: {epochs: 2, batch_size: 256, lr: 2.0e-3}
probe: {enabled: false}
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ResultsDir]:
    """A root on a store; the working folder holds the spec, the cache is its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(SPEC)
    (tmp_path / "untracked.yaml").write_text(f"{SPEC}tracking: {{mlflow: false}}\n")
    with s3_server():
        yield ResultsDir(new_root())


def orch(*words: str) -> None:
    assert run_command(list(words)) == 0


def numbers_of(results: ResultsDir) -> dict[str, Any]:
    found = {}
    for trial_id in trial_ids(results):
        folder = results.trial(trial_id)
        record = folder.read_record()
        assert record is not None
        found[trial_id] = (record.numbers(), [row.numbers() for row in folder.read_metrics()])
    return found


def test_ray_trains_on_a_store_what_the_for_loop_trains_in_a_folder(root: ResultsDir) -> None:
    orch("run", "untracked.yaml", "--results", str(root.root))
    orch("run", "untracked.yaml", "--results", "here", "--executor", "serial")
    numbers = numbers_of(root)
    assert len(numbers) == 2
    assert numbers == numbers_of(ResultsDir(Path("here")))
    record = root.trial(min(numbers)).read_record()
    assert record is not None
    assert record.provenance.executor == "ray_tune"


def test_sync_builds_the_history_of_a_lost_cache_anew(root: ResultsDir) -> None:
    orch("run", "tiny.yaml", "--results", str(root.root), "--executor", "serial")
    before = history_of(root, root.mlflow_db)
    assert len(before) == 2
    assert all(len(points["train_loss"]) == 2 for _, points in before.values())
    shutil.rmtree(root.mlflow_db.parent)
    orch("sync", "tiny", "--results", str(root.root))
    assert history_of(root, root.mlflow_db) == before


def history_of(results: ResultsDir, place: Path) -> dict[str, Any]:
    """Status and every point of each trial's run; read from a copy, because MLflow keeps open what it reads."""
    from tests.tuning.shown import Shown

    copy = Path(f"copy-{len(list(Path().glob('copy-*')))}.db")
    shutil.copy(place, copy)
    shown = Shown(results, "tiny", f"sqlite:///{copy}")
    return {trial_id: (run.info.status, shown.points(run)) for trial_id, run in shown.children.items()}
