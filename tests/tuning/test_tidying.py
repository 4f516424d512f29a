from __future__ import annotations

import pytest

from orchestrator import durable
from orchestrator.results import ResultsDir
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import run_sweep
from orchestrator.tuning.tidying import tidy_finished
from tests.tuning.sweeps import spec_and_grid, write_record

TEXT = """\
name: tiny
axes: {depth: [1]}
model: {embed_dim: 8, num_heads: 2, patch_size: 4}
data: {name: digits}
train: {epochs: 1, batch_size: 512, lr: 2.0e-3}
tracking: {mlflow: false}
"""
SEARCHED = TEXT.replace(", lr: 2.0e-3", "") + "tune: {axes: {lr: {log_uniform: [1.0e-3, 1.0e-2]}}, num_trials: 1}\n"


def litter(results: ResultsDir, trial_id: str) -> None:
    """What lies there when a process dies between the record and the last step."""
    folder = results.trial(trial_id)
    durable.commit_folder(folder.checkpoints / "final", {"model.safetensors": b"w"})
    durable.commit_folder(folder.checkpoints / "1-0", {"model.safetensors": b"w"})
    durable.write_bytes(folder.probes / "0.npz", b"")
    (folder.checkpoints / ".tmp-half-00000000-1-00").mkdir()


def files_of(results: ResultsDir, trial_id: str) -> set[str]:
    folder = results.trial(trial_id).path
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_what_belongs_to_a_finished_trial_stays(results: ResultsDir) -> None:
    (trial,) = spec_and_grid(TEXT)[1].trials
    write_record(results, trial)
    kept = {
        *files_of(results, trial.trial_id),
        "checkpoints/final/MANIFEST.json",
        "checkpoints/final/model.safetensors",
    }
    litter(results, trial.trial_id)
    tidy_finished(results.trial(trial.trial_id))
    assert files_of(results, trial.trial_id) == kept
    assert {path.name for path in results.trial(trial.trial_id).checkpoints.iterdir()} == {"final"}


@pytest.mark.parametrize("text", [TEXT, SEARCHED])
def test_the_run_after_a_crash_tidies_and_any_other_does_not_look(results: ResultsDir, text: str) -> None:
    spec, grid = spec_and_grid(text)
    options = RunOptions(executor="serial")
    run_sweep(spec, grid, results, options)
    trial_id = results.sweep("tiny").read_index().all_members[0].trial_id  # of the search where there is one
    whole = files_of(results, trial_id)
    litter(results, trial_id)
    run_sweep(spec, grid, results, options)
    assert files_of(results, trial_id) > whole, "the run before had come to its end"
    path = results.sweep("tiny").runs / "2.json"
    durable.write_sealed_json(path, {**durable.read_sealed_json(path), "ended_at": None, "machine": "", "lease_s": 0.1})
    run_sweep(spec, grid, results, options)
    assert files_of(results, trial_id) == whole
