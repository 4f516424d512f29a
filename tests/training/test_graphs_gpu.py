"""Graphs on a GPU, and what a GPU is asked for, where there is none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import StoppedError
from orchestrator.training.augment import train_batches
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.graphs import NUM_WARM_UP, CudaCapture
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.trial import Trial
from tests.training.captures import (
    DROPPING,
    EVERYTHING,
    changed,
    run,
)

REPLAYED = "the training step is replayed as one graph"
GPU_TOLERANCE = 0.02
"""Relative, of losses after two epochs: sums may be made in another order."""


def test_a_gpu_is_asked_in_the_documented_order(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            asked.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def inside(what: str) -> Iterator[None]:
        asked.append(what)
        try:
            yield
        finally:
            asked.append(f"end of {what}")

    class Graph:
        def replay(self) -> None:
            asked.append("replay")

    def capturing(graph: Graph, *, stream: Stream, capture_error_mode: str) -> AbstractContextManager[None]:
        return inside(f"capture on {stream.name}, {capture_error_mode}")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: Stream("main"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: inside(stream.name))
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", asked.append)
    capture = CudaCapture()
    with capture.aside(may_wait=True):
        asked.append("step")
    assert asked == ["side waits for main", "side", "step", "end of side", "main waits for side"]
    asked.clear()
    with pytest.raises(RuntimeError), capture.aside(may_wait=False):
        raise RuntimeError
    assert asked == ["side waits for main", "error", "side", "end of side", 0, "main waits for side"]
    asked.clear()
    replay = capture.capture(lambda: asked.append("step") or torch.ones(()))
    on_side = ["capture on side, thread_local", "step", "end of capture on side, thread_local"]
    assert asked == ["main", *on_side, "end of main"]
    assert replay() == replay() == 1
    assert asked[5:] == ["replay", "replay"]


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("attention", ["self", "reattention"])
@pytest.mark.parametrize("changes", [{}, {"precision": "bf16"}], ids=["fp32", "bf16"])
@pytest.mark.parametrize("is_compiled", [False, True], ids=["plain", "compiled"])
def test_a_gpu_replays_a_training(
    attention: str, changes: dict[str, Any], is_compiled: bool, tiny_trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    trial = changed(tiny_trial, model={"attention": attention, **DROPPING}, **EVERYTHING, **changes)
    settings = Settings(device="cuda", compile=is_compiled)
    with caplog.at_level(logging.INFO, logger="orchestrator"):
        rows, _ = run(trial, replace(settings, graphs=True))
    assert REPLAYED in caplog.messages
    for row, other in zip(rows, run(trial, settings)[0], strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=GPU_TOLERANCE)
        assert row["val_loss"] == pytest.approx(other["val_loss"], rel=GPU_TOLERANCE)


@pytest.mark.gpu
def test_a_gpu_goes_on_from_a_checkpoint_and_captures_anew(tiny_trial: Trial, tmp_path: Path, caplog: Any) -> None:
    trial, settings = changed(tiny_trial, model=DROPPING, **EVERYTHING), Settings(device="cuda", graphs=True)
    rows, _ = run(trial, settings)
    store, asked = CheckpointStore(tmp_path), iter(range(10**6))
    with pytest.raises(StoppedError):
        run(trial, settings, checkpoints=store, should_stop=lambda: next(asked) >= 11)
    with caplog.at_level(logging.INFO, logger="orchestrator"):
        _, resumed = run(trial, settings, checkpoints=store, start_from=store.load_newest())
    assert REPLAYED in caplog.messages
    for row, other in zip(resumed.progress.rows, rows, strict=True):
        assert row.train_loss == pytest.approx(other["train_loss"], rel=GPU_TOLERANCE)


@pytest.mark.gpu
def test_a_replayed_step_never_waits_for_the_gpu(tiny_trial: Trial) -> None:
    trainer = Trainer(changed(tiny_trial, **EVERYTHING), Settings(device="cuda", graphs=True), None, never_stop)
    images, labels = next(train_batches(trainer.data, trainer.trial, 1, device=trainer.device))
    trainer.model.train()
    for step in range(NUM_WARM_UP + 1):
        trainer.train_step(images, labels, 1, step)
    assert trainer.graph is not None
    assert trainer.graph.is_captured
    images, labels = trainer.mixed(images, labels, 1, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.graph.run(trainer.update, images, labels, 0)
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Asking(nn.Module):
    """Decides by a number that it fetches from the GPU."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return out if float(out.detach().abs().sum()) >= 0.0 else -out


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
def test_a_model_that_asks_the_gpu_is_trained_without_a_graph(tiny_trial: Trial, caplog: Any) -> None:
    trial = changed(tiny_trial, model=DROPPING)
    graphed, plain = (
        Trainer(trial, Settings(device="cuda", graphs=wants_graphs), None, never_stop) for wants_graphs in (True, False)
    )
    losses = []
    for trainer in (graphed, plain):
        trainer.model.blocks[0].mlp = Asking(trainer.model.blocks[0].mlp)
        batches = islice(train_batches(trainer.data, trial, 1, device=trainer.device), 8)
        trainer.model.train()
        losses.append([float(trainer.train_step(*batch, 1, step)) for step, batch in enumerate(batches)])
    assert graphed.graph is not None
    assert not graphed.graph.is_captured
    assert "the training step is not replayed as a graph: RuntimeError" in caplog.text
    assert losses[0] == pytest.approx(losses[1], rel=GPU_TOLERANCE)
