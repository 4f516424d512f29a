"""A replayed step has the numbers of the ordinary one; everything but the capture itself runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.errors import StoppedError
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.graphs import NUM_WARM_UP
from orchestrator.training.loop import Settings
from orchestrator.trial import Trial
from tests.training.captures import (
    DROPPING,
    EVERYTHING,
    EXACT,
    GRAPHS,
    Again,
    changed,
    run,
    steps_of,
    trainers,
    use,
    weights_of,
)

TOLERANCE = 1e-5
"""Relative, of losses after two epochs in which learning rates are rounded to float32."""


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        ({}, {}),
        ({"attention": "reattention", **DROPPING}, {**EVERYTHING, "warmup_epochs": 0}),
        ({"attention": "gain_only", "residual_scale": "1/depth"}, {"weight_decay": 0.3, "precision": "bf16"}),
    ],
    ids=["plain", "everything", "groups"],
)
def test_replayed_steps_are_the_ordinary_ones_bit_by_bit(
    captures: list[Again], tiny_trial: Trial, model: dict[str, Any], recipe: dict[str, Any]
) -> None:
    trial = changed(tiny_trial, model=model, **recipe, **EXACT)
    rows, outcome = run(trial, GRAPHS)
    expected_rows, expected = run(trial, Settings())
    assert rows == expected_rows
    assert outcome.weights == expected.weights
    (capture,) = captures
    num_steps = 2 * (1293 // 64)
    assert capture.asides == [True] * NUM_WARM_UP + [False]
    assert capture.num_replays == num_steps - NUM_WARM_UP


def test_a_schedule_reaches_the_replayed_steps(captures: list[Again], tiny_trial: Trial) -> None:
    trial = changed(tiny_trial, warmup_epochs=1, warmup_lr=1e-5, lr=1e-2)
    (rows, _), (expected, _) = run(trial, GRAPHS), run(trial, Settings())
    for row, other in zip(rows, expected, strict=True):
        assert row["lr"] == other["lr"]
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=TOLERANCE)
        assert row["val_loss"] == pytest.approx(other["val_loss"], rel=TOLERANCE)
    assert captures[0].num_replays > 0


@pytest.mark.parametrize("step", [2, 11, 20, 23])
def test_a_trial_that_is_stopped_captures_anew_and_ends_the_same(
    captures: list[Again], tiny_trial: Trial, tmp_path: Path, step: int
) -> None:
    trial = changed(tiny_trial, model={"attention": "reattention", **DROPPING}, **EVERYTHING)
    rows, whole = run(trial, GRAPHS)
    store, asked = CheckpointStore(tmp_path), iter(range(10**6))
    with pytest.raises(StoppedError):
        run(trial, GRAPHS, checkpoints=store, should_stop=lambda: next(asked) >= step)
    _, resumed = run(trial, GRAPHS, checkpoints=store, start_from=store.load_newest())
    assert [row.numbers() for row in resumed.progress.rows] == rows
    assert resumed.weights == whole.weights
    assert [capture.num_replays > 0 for capture in captures] == [True, step > NUM_WARM_UP, True]


def test_a_checkpoint_is_that_of_an_ordinary_training_and_serves_one(
    captures: list[Again], tiny_trial: Trial, tmp_path: Path
) -> None:
    trial, files = changed(tiny_trial, epochs=1, ema_decay=0.9, **EXACT), []
    for name, settings in (("graphs", GRAPHS), ("plain", Settings())):
        store = CheckpointStore(tmp_path / name)
        run(trial, settings, checkpoints=store)
        checkpoint = store.load_newest()
        assert checkpoint is not None
        files.append({name: content for name, content in checkpoint.files.items() if name != "progress.json"})
    assert files[0] == files[1]
    assert captures[0].num_replays > 0


def test_a_smaller_batch_in_between_takes_an_ordinary_step(captures: list[Again], tiny_trial: Trial) -> None:
    graphed, plain = trainers(changed(tiny_trial, model=DROPPING, **EXACT))
    for images, labels, epoch, step in steps_of(graphed, 12):
        size = 40 if step in (1, 7) else 64
        assert torch.equal(*(t.train_step(images[:size], labels[:size], epoch, step) for t in (graphed, plain)))
    assert all(map(torch.equal, weights_of(graphed), weights_of(plain)))
    assert captures[0].num_replays == 12 - 2 - NUM_WARM_UP


def test_a_loss_that_was_handed_out_stays(captures: list[Again], tiny_trial: Trial, monkeypatch: Any) -> None:
    class Static(Again):
        """Its losses lie in one place, as those of a graph do."""

        def capture(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
            kept, again = torch.zeros((), dtype=torch.float64), super().capture(step)
            return lambda: kept.copy_(again())

    use(monkeypatch, Static, captures)
    graphed, plain = trainers(changed(tiny_trial, **EXACT))
    losses = [[trainer.train_step(*given) for given in steps_of(trainer, 8)] for trainer in (graphed, plain)]
    assert losses[0] == losses[1]
