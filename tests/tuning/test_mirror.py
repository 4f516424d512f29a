"""The thread that mirrors a run: it follows, it never holds anything up, and it never raises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from orchestrator.errors import NotReadyError
from orchestrator.record import EpochMetrics, SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, TrialEnded, TrialStarted
from orchestrator.tuning.mirror import Mirror, mirror_report
from orchestrator.tuning.sync import open_sweep
from tests.tuning.shown import Shown, make_stored_sweep, put_store
from tests.tuning.sweep_files import (
    State,
    finish_trial,
    make_index,
    make_sweep,
    name_curves,
    start_trial,
    write_index,
    write_rows,
)

ROW = EpochMetrics(epoch=1, train_loss=1.0, val_loss=None, val_acc=0.5, lr=0.1, wall_time_s=1.0)


class Warned(list[str]):
    """What was told, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.event = threading.Event()

    def __call__(self, text: str) -> None:
        self.append(text)
        self.event.set()


def start(results: ResultsDir, index: SweepIndex, trials: list[Trial], **options: float | str) -> tuple[Mirror, Warned]:
    warned = Warned()
    mirror = Mirror(results, name_curves, warned, **{"pause_s": 0.01, "retry_s": 0.05, "share": 1.0, **options})  # type: ignore[arg-type]
    mirror.start(index, (), trials)
    mirror.waiting({})
    return mirror, warned


def eventually(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if is_so():
            return True
        time.sleep(0.05)
    return False


def test_a_run_is_followed_epoch_by_epoch(results: ResultsDir) -> None:
    index = make_index((2,))
    (trial,) = make_stored_sweep(results, index)
    mirror, warned = start(results, index, [trial])
    mirror.phase("starting")
    mirror.event(TrialStarted(trial.trial_id))
    start_trial(results, trial, 1)
    mirror.event(EpochFinished(trial.trial_id, ROW))

    def steps() -> list[int]:
        if not results.mlflow_id_file.exists():
            return []
        try:
            shown = Shown(results)
        except AssertionError:  # the experiment comes a moment after the store
            return []
        return [step for run in shown.runs for step, _ in shown.points(run).get("train_loss", [])]

    assert eventually(lambda: steps() == [1])
    assert {run.info.status for run in Shown(results).runs} == {"RUNNING"}
    write_rows(results, trial, 2)
    mirror.event(EpochFinished(trial.trial_id, ROW))
    assert eventually(lambda: steps() == [1, 2])
    record = finish_trial(results, trial, 0.5)
    mirror.event(TrialEnded(trial.trial_id, record.state, record))
    assert mirror.close()
    shown = Shown(results)
    assert {run.info.status for run in shown.runs} == {"FINISHED"}
    assert shown.points(shown.parent)["test_acc/self"] == [(2, 0.5)]
    assert warned == []


def test_a_stopped_run_leaves_nothing_running(results: ResultsDir) -> None:
    index = make_index((2, 4))
    trials = make_stored_sweep(results, index)
    mirror, _ = start(results, index, trials)
    for trial in trials:
        start_trial(results, trial, 1)
        mirror.event(EpochFinished(trial.trial_id, ROW))
    start_trial(results, trials[0], 1, outcome="STOPPED")
    mirror.event(TrialEnded(trials[0].trial_id, State.WAITING))
    assert mirror.close()
    assert {run.info.status for run in Shown(results).runs} == {"KILLED"}


def test_a_run_with_nothing_to_train_starts_no_thread_and_touches_nothing(results: ResultsDir) -> None:
    index = make_index((2,))
    mirror, _ = start(results, index, [])
    assert mirror.close()
    assert not results.root.exists()


def test_a_place_that_cannot_be_written_is_told_once_and_holds_nothing_up(results: ResultsDir) -> None:
    index = make_index((2,))
    (trial,) = make_sweep(results, index)
    mirror, warned = start(results, index, [trial], tracking_uri="nonsense://x")
    assert warned.event.wait(20)
    began = time.monotonic()
    for _ in range(1000):
        mirror.event(EpochFinished(trial.trial_id, ROW))
    assert time.monotonic() - began < 1
    time.sleep(0.2)
    assert not mirror.close()
    assert len(warned) == 1
    assert f"orch sync s --results {results.root}" in warned[0]


def test_a_mirror_that_comes_back_catches_up(results: ResultsDir) -> None:
    index = make_index((2,))
    (trial,) = make_stored_sweep(results, index)
    start_trial(results, trial, 1)
    with open_sweep(results, index, name_curves):
        mirror, warned = start(results, index, [trial])
        assert warned.event.wait(20)
        record = finish_trial(results, trial, 0.5)
        mirror.event(TrialEnded(trial.trial_id, record.state, record))
    assert mirror.close()
    assert len(warned) == 1
    shown = Shown(results)
    assert shown.points(shown.parent)["test_acc/self"] == [(2, 0.5)]


def test_a_mirror_that_does_not_end_is_left_behind_and_told(
    results: ResultsDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index((2,))
    (trial,) = make_sweep(results, index)
    release = threading.Event()

    def stuck(*_: object, **__: object) -> None:
        release.wait()
        raise NotReadyError("too late")

    monkeypatch.setattr("orchestrator.tuning.mirror.open_sweep", stuck)
    mirror, warned = start(results, index, [trial])
    assert not mirror.close(timeout_s=0.1)
    release.set()
    assert not mirror.close()
    assert len(warned) == 1
    assert "orch sync s" in warned[0]


def test_a_server_that_never_answers_is_waited_for_no_longer_than_one_request(
    results: ResultsDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tuning.mirror.SECONDS_TO_CLOSE_ON_A_FAULT", 0.1)
    index = make_index((2,))
    (trial,) = make_sweep(results, index)
    tries: list[float] = []
    release = threading.Event()

    def hanging(*_: object, **__: object) -> None:
        tries.append(time.monotonic())
        if len(tries) > 1:
            release.wait()
        raise NotReadyError("no answer; run `orch sync s`")

    monkeypatch.setattr("orchestrator.tuning.mirror.open_sweep", hanging)
    mirror, warned = start(results, index, [trial])
    assert eventually(lambda: len(tries) == 2)
    began = time.monotonic()
    assert not mirror.close(timeout_s=60)
    assert time.monotonic() - began < 30
    assert len(warned) == 1
    release.set()
    assert not mirror.close()


def test_the_longer_a_write_took_the_longer_the_thread_rests(results: ResultsDir) -> None:
    mirror = Mirror(results, name_curves, Warned(), pause_s=1.0, share=0.01)
    assert [mirror._rest_after(worked_s) for worked_s in (0.001, 0.1, 5.0)] == [1.0, 10.0, 60.0]


def test_ctrl_c_ends_the_wait_and_the_rest_is_told(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_index((2,))
    (trial,) = make_sweep(results, index)
    release = threading.Event()

    def stuck(*_: object, **__: object) -> None:
        release.wait()
        raise NotReadyError("too late")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("orchestrator.tuning.mirror.open_sweep", stuck)
    mirror, warned = start(results, index, [trial])
    with monkeypatch.context() as patch:
        patch.setattr("orchestrator.tuning.mirror._join", interrupted)
        assert not mirror.close()
    assert "orch sync s" in warned[0]
    release.set()
    assert not mirror.close()


def test_what_an_earlier_run_could_not_write_is_written_by_a_run_with_nothing_to_train(results: ResultsDir) -> None:
    index = make_index((2,))
    (trial,) = make_sweep(results, index)
    mirror, warned = start(results, index, [trial], tracking_uri="nonsense://x")
    record = finish_trial(results, trial, 0.5)
    mirror.event(TrialEnded(trial.trial_id, record.state, record))
    assert not mirror.close()
    assert len(warned) == 1
    put_store(results)
    mirror, warned = start(results, index, [])
    assert mirror.close()
    assert warned == []
    shown = Shown(results)
    assert shown.points(shown.parent)["test_acc/self"] == [(2, 0.5)]
    assert not results.sweep("s").mlflow_behind_file.exists()


def test_a_report_is_mirrored_where_that_is_possible(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    warned = Warned()
    put_store(results)
    write_index(results, make_index((2,)))
    assert mirror_report(results, "s", name_curves, warned)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    assert not mirror_report(results, "s", name_curves, warned)
    assert len(warned) == 1


def test_the_store_in_the_results_folder_is_made_before_a_trial_begins(results: ResultsDir) -> None:
    index = make_index((2,))
    (trial,) = make_sweep(results, index)
    mirror, _ = start(results, index, [trial])
    mirror.event(TrialStarted(trial.trial_id))
    assert results.mlflow_db.exists()
    mirror.close()


def test_mlflow_leaves_the_start_of_ray_to_the_run(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    monkeypatch.setattr(Mirror, "_make_store", lambda mirror: begun.set())
    index = make_index((2,))
    (trial,) = make_sweep(results, index)
    mirror = Mirror(results, name_curves, Warned())
    mirror.start(index, (), [trial])
    assert not begun.wait(0.3)
    mirror.waiting({})
    assert begun.wait(20)
    mirror.close()


def test_beside_a_server_no_store_is_made(results: ResultsDir) -> None:
    index = make_index((2,))
    (trial,) = make_sweep(results, index)
    mirror, _ = start(results, index, [trial], tracking_uri="http://127.0.0.1:1")
    mirror.event(TrialStarted(trial.trial_id))
    assert not results.mlflow_db.exists()
    mirror.close(0.1)
