"""The search with real trials: the same on both executors and after a stop, and a pruned trial ends early."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.tuning.runner import ExecutorName, RunOptions
from orchestrator.tuning.sweep import run_sweep
from tests.tuning.searches import tuned
from tests.tuning.test_executors import execute, settings_for

TEXT = """\
name: real
axes: {attention: [self, reattention]}
tune:
  axes: {lr: {log_uniform: [1.0e-3, 1.0e-1]}}
  num_trials: 4
  sampler: tpe
  batch_size: 2
model: {depth: 1, embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 2.0}
data: {name: digits}
train: {epochs: 2, batch_size: 256}
tracking: {mlflow: false}
probe: {enabled: false}
"""


def run(results: ResultsDir, executor: ExecutorName) -> set[str]:
    """Run to the end; the ids of all trials."""
    spec, grid, _ = tuned(TEXT)
    summary = run_sweep(spec, grid, results, RunOptions(executor=executor))
    assert summary.exit_code == 0
    assert summary.search is not None
    assert (summary.num_finished, summary.search.num_finished) == (2, 8)
    return {folder.path.name for folder in results.trials()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> ResultsDir:
    results = ResultsDir(tmp_path_factory.mktemp("reference"))
    run(results, "serial")
    return results


@pytest.mark.slow
def test_both_executors_search_alike(reference: ResultsDir, results: ResultsDir) -> None:
    assert run(results, "ray_tune") == {folder.path.name for folder in reference.trials()}
    assert results.sweep("real").read_tuned() == reference.sweep("real").read_tuned()
    assert results.sweep("real").read_index() == reference.sweep("real").read_index()


@pytest.mark.slow
@pytest.mark.parametrize("num_lost", [1, 5])
def test_a_search_that_lost_trials_makes_the_same_ones_again(
    num_lost: int, reference: ResultsDir, results: ResultsDir
) -> None:
    """Whatever is missing of the files, what comes after it is the same."""
    shutil.copytree(reference.root, results.root)
    members = results.sweep("real").read_index().all_members
    for member in members[:: max(1, len(members) // num_lost)]:
        shutil.rmtree(results.trial(member.trial_id).path)
    for name in ("tuned.json", "trials.json"):
        (results.sweep("real").path / name).unlink()
    run(results, "serial")
    assert results.sweep("real").read_tuned() == reference.sweep("real").read_tuned()
    assert {f.path.name for f in results.trials()} == {f.path.name for f in reference.trials()}


def test_a_trial_below_its_rule_ends_early_with_a_record(results: ResultsDir, tiny_trial) -> None:
    settings = settings_for(results, [tiny_trial], "serial", prune={tiny_trial.trial_id: {1: 1.1}})
    *_, ended = execute("serial", [tiny_trial], settings)
    assert (ended.state, ended.record.state) == (State.PRUNED, State.PRUNED)
    folder = results.trial(tiny_trial.trial_id)
    record = folder.read_record()
    assert record is not None
    assert (record.num_epochs, len(folder.read_metrics())) == (1, 1)
    assert (record.val_acc, record.test_acc, record.weights_sha256, record.diverged) == (None, None, None, None)
    assert folder.state() is State.PRUNED
    assert folder.read_attempts()[0].outcome == "PRUNED"
    assert "given up after epoch 1" in (folder.read_attempts()[0].error or "")
    assert not folder.checkpoints.exists()


def test_a_trial_that_stopped_before_its_record_was_written_is_pruned_at_the_same_epoch(
    results: ResultsDir, tiny_trial
) -> None:
    from orchestrator.tuning import serial

    run = serial.execute([tiny_trial], settings_for(results, [tiny_trial], "serial"))
    for _ in range(2):  # the start, and the first epoch
        next(run)
    run.close()  # type: ignore[attr-defined]
    settings = settings_for(results, [tiny_trial], "serial", prune={tiny_trial.trial_id: {1: 1.1}})
    events = execute("serial", [tiny_trial], settings)
    assert [type(event).__name__ for event in events] == ["TrialStarted", "TrialEnded"]
    assert events[-1].record.num_epochs == 1


def test_a_rule_that_holds_changes_no_number(results: ResultsDir, tiny_trial, tmp_path: Path) -> None:
    free = ResultsDir(tmp_path / "free")
    execute("serial", [tiny_trial], settings_for(free, [tiny_trial], "serial"))
    execute(
        "serial", [tiny_trial], settings_for(results, [tiny_trial], "serial", prune={tiny_trial.trial_id: {1: 0.0}})
    )
    found, expected = (root.trial(tiny_trial.trial_id).read_record() for root in (results, free))
    assert found is not None
    assert expected is not None
    assert found.numbers() == expected.numbers()
