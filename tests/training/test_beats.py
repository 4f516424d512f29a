"""training/beats.py: a training, an evaluation and a probe are heard while they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.grids.sweep_spec import Probe
from orchestrator.training.beats import beating, watched_by
from orchestrator.training.loop import Settings, train
from orchestrator.training.probe_store import ProbeStore
from orchestrator.trial import Trial


def test_every_batch_is_a_beat_and_nobody_need_listen() -> None:
    beats: list[None] = []
    batches = beating(lambda count: iter(range(count)))
    assert list(batches(3)) == [0, 1, 2]
    with watched_by(lambda: beats.append(None)):
        handed_out = batches(3)
        assert beats == []
        assert list(handed_out) == [0, 1, 2]
    list(batches(3))
    assert len(beats) == 3


def test_an_error_while_batches_are_made_ready_comes_at_the_call() -> None:
    with pytest.raises(ZeroDivisionError):
        beating(lambda: 1 / 0)()  # type: ignore[arg-type, return-value]


def test_training_evaluation_and_probes_beat(tiny_trial: Trial, tmp_path: Path) -> None:
    heard = dict.fromkeys(("probe", "epoch", "end"), 0)
    now = ["probe"]

    def watcher() -> None:
        heard[now[0]] += 1

    with watched_by(watcher):
        training = train(
            tiny_trial, settings=Settings(probe=Probe(images=8, skip_images=8)), probes=ProbeStore(tmp_path)
        )
        next(training)
        now[0] = "epoch"
        next(training)
        now[0] = "end"
        with pytest.raises(StopIteration):
            next(training)
    assert heard["probe"] > heard["epoch"] == 20 + 3  # 20 steps and 3 batches of validation
    assert heard["end"] > 5
