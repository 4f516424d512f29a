from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import pytest

from orchestrator import cost
from orchestrator.cli import run_command
from orchestrator.errors import NotReadyError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.results import ResultsDir
from orchestrator.tuning import preflight
from orchestrator.tuning.events import RunSettings
from orchestrator.tuning.preflight import Machine, check_machine, estimate_need, look_at, shortages
from tests.tuning.sweeps import TEXT, spec_and_grid

TRIALS = spec_and_grid(TEXT)[1].trials
PLENTY = Machine(
    free_bytes=2**50, free_files=10**9, file_handles=10**6, processes=10**6, shared_bytes=2**40
)  # fmt: skip


def settings_for(root: Path, **changes) -> RunSettings:
    content = {
        "results_root": root,
        "stop_file": root / "stop",
        "executor": "serial",
        "data_fingerprints": {},
        "roots": {},
    }
    return RunSettings(**{**content, **changes})


def test_the_disk_holds_final_weights_of_all_and_three_checkpoints_of_one(tmp_path: Path) -> None:
    need = estimate_need(TRIALS, settings_for(tmp_path))
    params = [cost.num_params(trial) for trial in TRIALS]
    assert need.num_bytes == sum(params) * 4 + min(params) * 12 * 3 + len(TRIALS) * preflight.SMALL_FILES


def test_trials_that_run_together_have_their_checkpoints_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    one = estimate_need(TRIALS, settings_for(tmp_path))
    four = estimate_need(TRIALS, settings_for(tmp_path, executor="ray_tune"))
    two = estimate_need(TRIALS, settings_for(tmp_path, executor="ray_tune", resources=Resources(cpus=2)))
    assert one.num_bytes < two.num_bytes < four.num_bytes
    assert two.file_handles < four.file_handles
    away = estimate_need(TRIALS, settings_for(tmp_path, executor="ray_tune", address="h:1"))
    assert (away.num_bytes, away.file_handles) == (one.num_bytes, one.file_handles), "a cluster has its own limits"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"free_bytes": 1000}, "disk: weights and checkpoints take at least"),
        ({"free_files": 3}, "disk: at least 80 files are written and 3 more fit"),
        ({"file_handles": 32}, "file handles: at least 64 are needed and a process may have 32; raise them: ulimit -n"),
        ({"processes": 4}, "processes: at least 16 processes and threads are started and this user may have 4"),
    ],
)
def test_each_thing_that_is_too_small_is_told_with_what_to_do(tmp_path: Path, limits: dict, words: str) -> None:
    need = estimate_need(TRIALS, settings_for(tmp_path))
    assert shortages(need, PLENTY, tmp_path) == []
    (told,) = shortages(need, Machine(**{**vars(PLENTY), **limits}), tmp_path)
    assert told.startswith(words)
    assert shortages(need, Machine(), tmp_path) == [], "what is not known is not too small"


def test_images_that_loading_processes_hand_over_need_shared_memory(tmp_path: Path) -> None:
    pictures = spec_and_grid(
        "name: p\naxes: {depth: [1]}\nmodel: {img_size: 224, patch_size: 16, embed_dim: 8, num_heads: 2}\n"
        "data: {name: image_folder, id: p, root: p, num_classes: 2}\ntrain: {epochs: 1, batch_size: 64, lr: 1e-3}\n"
    )[1].trials
    need = estimate_need(pictures, settings_for(tmp_path, resources=Resources(cpus=5)))
    assert need.shared_bytes == 4 * 2 * 64 * 3 * 224**2 * 4
    (told,) = shortages(need, Machine(shared_bytes=64 * 2**20), tmp_path)
    assert "shared memory: loading images takes at least 294.0 MiB and 64.0 MiB are free" in told
    assert estimate_need(pictures, settings_for(tmp_path)).shared_bytes == 0
    assert estimate_need(TRIALS, settings_for(tmp_path, resources=Resources(cpus=5))).shared_bytes == 0


def test_what_an_interrupted_trial_has_on_disk_is_not_asked_for_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(tmp_path)
    need = estimate_need(TRIALS, settings)
    monkeypatch.setattr(preflight, "look_at", lambda root: Machine(free_bytes=need.num_bytes - 500))
    with pytest.raises(NotReadyError, match="cannot hold what is about to run:\n  disk"):
        check_machine(TRIALS, settings)
    kept = ResultsDir(tmp_path).trial(TRIALS[0].trial_id).checkpoints / "1-0"
    kept.mkdir(parents=True)
    (kept / "model.safetensors").write_bytes(b"0" * 500)
    check_machine(TRIALS, settings)


def test_an_object_store_has_no_end_and_root_no_limit_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = look_at(tmp_path / "not" / "there")
    assert found.free_bytes is not None
    assert found.file_handles == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight, "is_local", lambda path: False)
    found = look_at(tmp_path)
    assert (found.free_bytes, found.free_files, found.processes) == (None, None, None)


def test_a_run_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TEXT)
    monkeypatch.setattr(preflight, "look_at", lambda root: Machine(free_bytes=10_000, file_handles=16))
    assert run_command(["run", "tiny.yaml", "--executor", "serial"]) == 3
    told = capsys.readouterr().err
    assert "disk: weights and checkpoints take at least" in told
    assert "file handles: at least 64 are needed" in told
    assert not (tmp_path / "results" / "trials").exists()


def test_ten_thousand_trials_are_looked_at_in_a_moment(tmp_path: Path) -> None:
    trials = spec_and_grid(TEXT.replace("seeds: 2", "seeds: 2500"))[1].trials
    assert len(trials) == 10_000
    began = time.process_time()
    check_machine(trials, settings_for(tmp_path, executor="ray_tune"))
    assert time.process_time() - began < 10.0
