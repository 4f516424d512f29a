"""One contract for every executor; the serial one is the reference."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import NotReadyError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, RunSettings, TrialEnded, TrialStarted, dataset_key
from orchestrator.tuning.runner import find_session

EXECUTORS = ["serial", pytest.param("ray_tune", marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Each executor's name; Ray is started once for all tests."""
    name: str = request.param
    with find_session(name)(settings_for(ResultsDir(tmp_path_factory.mktemp("session")), [], name)):  # type: ignore[arg-type]
        yield name


def settings_for(results: ResultsDir, trials: Sequence[Trial], executor: str, **changes) -> RunSettings:
    keys = {dataset_key(trial) for trial in trials}
    settings = RunSettings(
        results_root=results.root,
        stop_file=results.root / "stop",
        executor=executor,
        data_fingerprints=dict.fromkeys(keys, "d"),
        roots=dict.fromkeys(keys, None),
    )
    return replace(settings, **changes)


def execute(executor: str, trials: Sequence[Trial], settings: RunSettings) -> list:
    if executor == "serial":
        from orchestrator.tuning import serial as chosen
    else:
        from orchestrator.tuning import ray_tune as chosen  # type: ignore[no-redef]
    return list(chosen.execute(trials, settings))


def four_trials(tiny_trial: Trial) -> list[Trial]:
    return [
        replace(tiny_trial, seed=seed, model=replace(tiny_trial.model, attention=attention))
        for seed in (0, 1)
        for attention in ("self", "reattention")
    ]


def failing(trial: Trial) -> Trial:
    return replace(trial, model=replace(trial.model, attention="no_such_package.attn:Missing"))


def diverging(trial: Trial) -> Trial:
    return replace(trial, train=replace(trial.train, optimizer="sgd", lr=1e30))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> ResultsDir:
    """The four trials, trained one after the other."""
    results = ResultsDir(tmp_path_factory.mktemp("reference"))
    trials = four_trials(tiny())
    execute("serial", trials, settings_for(results, trials, "serial"))
    return results


def tiny() -> Trial:
    from orchestrator.configs import DataConfig, ModelConfig, TrainConfig

    return Trial(
        model=ModelConfig(depth=2, embed_dim=16, num_heads=2, patch_size=4, img_size=8),
        data=DataConfig(name="digits", num_classes=10, in_chans=1, test_fraction=0.2),
        train=TrainConfig(epochs=2, batch_size=64, lr=2e-3),
        seed=0,
    )


def test_trials_end_in_records_that_are_bit_equal_to_the_reference(
    executor: str, reference: ResultsDir, results: ResultsDir
) -> None:
    trials = four_trials(tiny())
    events = execute(executor, trials, settings_for(results, trials, executor))
    for trial in trials:
        folder, expected = results.trial(trial.trial_id), reference.trial(trial.trial_id)
        record, other = folder.read_record(), expected.read_record()
        assert record is not None
        assert other is not None
        assert record.numbers() == other.numbers()
        assert [row.numbers() for row in folder.read_metrics()] == [row.numbers() for row in expected.read_metrics()]
        assert folder.read_trial() == trial.canonical()
        with np.load(folder.predictions_file, allow_pickle=False) as content:
            is_correct = np.unpackbits(content["is_correct"], count=int(content["num_images"]))
        assert is_correct.mean() == pytest.approx(record.test_acc)
        assert record.provenance.executor == executor
    ended = {event.trial_id: event.state for event in events if isinstance(event, TrialEnded)}
    assert ended == {trial.trial_id: State.COMPLETE for trial in trials}
    assert sum(isinstance(event, EpochFinished) for event in events) == 8
    assert {event.trial_id for event in events if isinstance(event, TrialStarted)} == set(ended)


def test_a_failure_and_a_divergence_are_outcomes_and_the_rest_goes_on(
    executor: str, results: ResultsDir, tiny_trial: Trial
) -> None:
    trials = [failing(tiny_trial), diverging(tiny_trial), tiny_trial]
    events = execute(executor, trials, settings_for(results, trials, executor))
    ended = {event.trial_id: event for event in events if isinstance(event, TrialEnded)}
    assert [ended[trial.trial_id].state for trial in trials] == [State.FAIL, State.DIVERGED, State.COMPLETE]
    assert "no_such_package" in (ended[trials[0].trial_id].error or "")
    folder = results.trial(trials[0].trial_id)
    assert folder.state() is State.FAIL
    assert folder.read_record() is None
    assert "Traceback" in (folder.read_attempts()[-1].traceback or "")
    diverged = results.trial(trials[1].trial_id).read_record()
    assert diverged is not None
    assert (diverged.test_acc, diverged.weights_sha256) == (None, None)


def test_a_stop_file_stops_with_a_checkpoint_and_the_next_start_goes_on_from_it(
    executor: str, results: ResultsDir, tmp_path: Path
) -> None:
    slow = replace(tiny(), train=replace(tiny().train, epochs=30, batch_size=512))
    whole = ResultsDir(tmp_path / "whole")
    execute("serial", [slow], settings_for(whole, [slow], "serial"))
    settings = settings_for(results, [slow], executor)
    if executor == "serial":
        from orchestrator.tuning import serial as chosen
    else:
        from orchestrator.tuning import ray_tune as chosen  # type: ignore[no-redef]
    states = []
    for event in chosen.execute([slow], settings):
        if isinstance(event, EpochFinished):
            settings.stop_file.write_text("")
        if isinstance(event, TrialEnded):
            states.append(event.state)
    folder = results.trial(slow.trial_id)
    assert states in ([State.WAITING], [])  # Tune may end before it passes the last event on
    assert folder.read_record() is None
    assert any(folder.checkpoints.iterdir())
    settings.stop_file.unlink()
    execute(executor, [slow], settings)
    record, expected = folder.read_record(), whole.trial(slow.trial_id).read_record()
    assert record is not None
    assert expected is not None
    assert record.numbers() == expected.numbers()
    assert record.num_attempts == 2
    assert folder.read_attempts()[1].started_from is not None


def test_a_killed_trial_goes_on_from_its_last_epoch(reference: ResultsDir, results: ResultsDir) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.tuning.test_executors import *\n"
        f"results = ResultsDir(Path({str(results.root)!r})); trial = tiny()\n"
        "from orchestrator.tuning import serial\n"
        "for event in serial.execute([trial], settings_for(results, [trial], 'serial')):\n"
        "    if isinstance(event, EpochFinished): print('epoch', flush=True); time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    assert process.stdout.readline() == "epoch\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    trial = tiny()
    folder = results.trial(trial.trial_id)
    assert folder.state() is State.WAITING
    events = execute("serial", [trial], settings_for(results, [trial], "serial"))
    assert sum(isinstance(event, EpochFinished) for event in events) == 1
    record, expected = folder.read_record(), reference.trial(trial.trial_id).read_record()
    assert record is not None
    assert expected is not None
    assert record.numbers() == expected.numbers()
    assert [a.started_from for a in folder.read_attempts()] == [None, "1-0"]


def test_other_code_does_not_go_on_inside_a_half_trained_trial(
    results: ResultsDir, tiny_trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator import provenance
    from orchestrator.tuning import serial

    settings = settings_for(results, [tiny_trial], "serial")
    run = serial.execute([tiny_trial], settings)
    while not isinstance(next(run), EpochFinished):
        pass
    run.close()  # type: ignore[attr-defined]
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "other")
    (ended,) = [e for e in execute("serial", [tiny_trial], settings) if isinstance(e, TrialEnded)]
    assert ended.state is State.FAIL
    assert "--allow-code-change" in (ended.error or "")
    (ended,) = [
        e
        for e in execute("serial", [tiny_trial], replace(settings, allow_code_change=True))
        if isinstance(e, TrialEnded)
    ]
    assert ended.state is State.COMPLETE


def test_a_gpu_that_is_not_there_is_refused_with_advice(results: ResultsDir, tiny_trial: Trial) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(NotReadyError, match=r"resources\.gpus asks for a GPU"):
        execute("serial", [tiny_trial], settings_for(results, [tiny_trial], "serial", resources=Resources(gpus=1)))


@pytest.mark.slow
class TestManyTrialsOnRay:
    """More trials than one Tune experiment takes are run in several, one after the other."""

    @pytest.fixture
    def executor(self, executor: str) -> str:
        if executor != "ray_tune":
            pytest.skip("the serial executor has no experiments")
        return executor

    @pytest.fixture(autouse=True)
    def _two_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from orchestrator.tuning import ray_tune

        monkeypatch.setattr(ray_tune, "TRIALS_AT_A_TIME", 2)

    def test_every_trial_ends_once(self, executor: str, results: ResultsDir) -> None:
        trials = [replace(tiny(), seed=seed) for seed in range(5)]
        events = execute(executor, trials, settings_for(results, trials, executor))
        ended = [event for event in events if isinstance(event, TrialEnded)]
        assert sorted(event.trial_id for event in ended) == sorted(trial.trial_id for trial in trials)
        assert {event.state for event in ended} == {State.COMPLETE}

    def test_a_stop_between_two_of_them_starts_no_more(self, executor: str, results: ResultsDir) -> None:
        from orchestrator.tuning import ray_tune

        trials = [replace(tiny(), seed=seed) for seed in range(5)]
        settings = settings_for(results, trials, executor)
        ended = []
        for event in ray_tune.execute(trials, settings):
            if isinstance(event, TrialEnded):
                ended.append(event)
            if len(ended) == 2:
                settings.stop_file.write_text("a test asked")
        assert len(ended) == 2
        assert sum(results.trial(trial.trial_id).num_attempts() for trial in trials) == 2
