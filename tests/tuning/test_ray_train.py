"""One trial on two processes through Ray, against the same trial in one; what it is started with."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import DataError, TrainingError, UsageError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, TrialEnded
from orchestrator.tuning.ray_train import HEAD, driver_bundle, ended_by
from tests.training.test_shards import TOLERANCE, TOLERANCE_EVALUATED
from tests.tuning.test_executors import execute, settings_for

TWO = Resources(workers=2)


def node(cpus: float, gpus: float = 0, *, is_head: bool = True) -> dict[str, object]:
    places = {HEAD: 1.0, "node:10.0.0.1": 1.0} if is_head else {"node:10.0.0.2": 1.0}
    return {"Alive": True, "Resources": {"CPU": cpus, "GPU": gpus, **places}}


def test_drivers_stand_at_the_head_and_no_more_of_them_than_trials_fit() -> None:
    place = "node:10.0.0.1"
    assert driver_bundle(TWO, [node(2)]) == {"CPU": 0.0, place: 1.0}
    assert driver_bundle(TWO, [node(3, is_head=False), node(4)]) == {"CPU": 0.0, place: pytest.approx(0.3333)}
    assert driver_bundle(Resources(gpus=1, workers=4), [node(64, 8)])[place] == 0.5
    assert driver_bundle(TWO, [node(1)])[place] == 1.0


def test_what_is_not_ready_is_no_failure_of_the_trial() -> None:
    ended = ended_by("t", DataError("cifar10 is not there"))
    assert (ended.state, ended.not_ready, ended.error) == (State.WAITING, "cifar10 is not there", None)
    assert ended_by("t", TrainingError("no")) == TrialEnded("t", State.FAIL, error="no")


def test_the_serial_executor_refuses_workers(results: ResultsDir, tiny_trial: Trial) -> None:
    settings = settings_for(results, [tiny_trial], "serial", resources=TWO)
    with pytest.raises(UsageError, match=r"d2-self-w16-s0 asks for resources\.workers: 2; leave out --executor serial"):
        execute("serial", [tiny_trial], settings)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[1])


def other_worker(first: int) -> int:
    """The process that trains beside `first`: of the same Ray, under the same name."""
    names = {int(path.parent.name): path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")}
    (other,) = [
        process
        for process, name in names.items()
        if name.startswith(b"ray::RayTrainWorker") and process != first and parent_of(process) == parent_of(first)
    ]
    return other


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_workers_make_the_record_of_one_though_one_is_killed(
    results: ResultsDir, tmp_path: Path, tiny_trial: Trial
) -> None:
    from orchestrator.tuning import ray_tune

    model, recipe = replace(tiny_trial.model, attention="reattention"), replace(tiny_trial.train, epochs=4)
    trial = replace(tiny_trial, model=model, train=recipe)
    alone = ResultsDir(tmp_path / "alone")
    execute("serial", [trial], settings_for(alone, [trial], "serial"))
    folder = results.trial(trial.trial_id)
    epochs, ended = [], []
    for event in ray_tune.execute([trial], settings_for(results, [trial], "ray_tune", resources=TWO)):
        if isinstance(event, EpochFinished):
            epochs.append(event.metrics.epoch)
            if len(epochs) == 1:
                os.kill(other_worker(folder.read_attempts()[0].process), signal.SIGKILL)
        if isinstance(event, TrialEnded):
            ended.append(event.state)
    assert ended == [State.COMPLETE]
    assert set(epochs) == {1, 2, 3, 4}
    first, second = folder.read_attempts()
    assert first.outcome in (None, "LOST")  # Train may end the first worker before that sees that the other is gone
    assert first.started_from is None
    assert second.started_from is not None
    assert (first.num_workers, second.num_workers) == (2, 2)
    record, expected = folder.read_record(), alone.trial(trial.trial_id).read_record()
    assert record is not None
    assert expected is not None
    assert (record.provenance.num_workers, record.num_attempts) == (2, 2)
    assert record.provenance.devices == f"2 x {expected.provenance.devices}"
    rows, expected_rows = folder.read_metrics(), alone.trial(trial.trial_id).read_metrics()
    for row, other in zip(rows, expected_rows, strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=TOLERANCE)
    assert record.val_loss == pytest.approx(expected.val_loss, rel=TOLERANCE_EVALUATED)
    assert record.test_loss == pytest.approx(expected.test_loss, rel=TOLERANCE_EVALUATED)
