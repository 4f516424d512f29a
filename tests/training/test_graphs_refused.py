"""Where there is no graph, or none that holds, every step is an ordinary one, and the log says why."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orchestrator.training.graphs import why_not_graphed
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.training.pack import Pack
from orchestrator.training.shards import ALONE, Shards
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


class Frozen(Again):
    """A replay that draws what was drawn at the capture, as a graph would that takes draws from the host."""

    def capture(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        state, again = torch.get_rng_state(), super().capture(step)

        def replay() -> Tensor:
            torch.set_rng_state(state)
            return again()

        return replay


class Idle(Again):
    """A replay that says the right loss and does nothing."""

    def capture(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        parameters = step.args[0].__self__.parameters  # type: ignore[attr-defined]

        def replay() -> Tensor:
            before = [parameter.detach().clone() for parameter in parameters]
            loss = step()
            with torch.no_grad():
                for parameter, old in zip(parameters, before, strict=True):
                    parameter.copy_(old)
            return loss

        return replay


class Refusing(Again):
    """What cannot be captured."""

    def capture(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        step()
        raise RuntimeError("operation not permitted when stream is capturing")


class Waiting(Again):
    """A step that waits for its device, which is seen as it is made aside."""

    def aside(self, *, may_wait: bool) -> AbstractContextManager[None]:
        if not may_wait:
            raise RuntimeError("called a synchronizing CUDA operation")
        return super().aside(may_wait=may_wait)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (Frozen, r"its (moments are off by|loss is) "),
        (Idle, "its weights are off by "),
        (Refusing, "RuntimeError: operation not permitted"),
        (Waiting, "RuntimeError: called a synchronizing"),
    ],
)
def test_without_a_graph_that_holds_every_step_is_an_ordinary_one(
    kind: type[Again], told: str, captures: list[Again], tiny_trial: Trial, monkeypatch: Any, caplog: Any
) -> None:
    use(monkeypatch, kind, captures)
    trial = changed(tiny_trial, model={"attention": "reattention", **DROPPING}, **EVERYTHING | EXACT)
    rows, outcome = run(trial, GRAPHS)
    expected_rows, expected = run(trial, Settings())
    assert (rows, outcome.weights) == (expected_rows, expected.weights)
    (message,) = [text for text in caplog.messages if "graph" in text]
    assert re.match(f"the training step is not replayed as a graph: {told}", message)


def test_a_graph_that_does_not_hold_is_let_go(captures: list[Again], tiny_trial: Trial, monkeypatch: Any) -> None:
    use(monkeypatch, Idle, captures)
    graphed, _ = trainers(tiny_trial)
    for given in steps_of(graphed, 6):
        graphed.train_step(*given)
    assert graphed.graph is not None
    assert not graphed.graph.is_captured


class Rebinding(nn.Module):
    """Counts in a buffer that it makes anew each time."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("count", torch.zeros(()))

    def forward(self, *given: Any) -> Tensor:
        self.count = self.count + 1
        out: Tensor = self.inner(*given)
        return out


def test_a_model_that_makes_its_tensors_anew_gets_no_graph(
    captures: list[Again], tiny_trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    graphed, plain = trainers(changed(tiny_trial, **EXACT))
    for trainer in (graphed, plain):
        trainer.model.blocks[0].mlp = Rebinding(trainer.model.blocks[0].mlp)
        for given in steps_of(trainer, 6):
            trainer.train_step(*given)
    assert captures[0].num_replays == 0
    assert "puts new tensors in the place of old ones" in caplog.text
    assert all(map(torch.equal, weights_of(graphed), weights_of(plain)))


@pytest.mark.parametrize(
    ("recipe", "shards", "told"),
    [
        ({}, ALONE, None),
        ({}, Shards(0, 2), "several workers"),
        ({"optimizer": "sgd"}, ALONE, "sgd takes its learning rate from the host"),
        ({"optimizer": "lamb"}, ALONE, "lamb takes its learning rate from the host"),
        ({"micro_batch_size": 32}, ALONE, "in parts"),
    ],
    ids=str,
)
def test_what_is_known_beforehand_is_told(
    recipe: dict[str, Any], shards: Shards, told: str | None, tiny_trial: Trial
) -> None:
    reason = why_not_graphed(changed(tiny_trial, **recipe), torch.device("cuda"), shards)
    assert reason is None if told is None else told in str(reason)


def test_a_cpu_has_no_graphs_and_says_so(tiny_trial: Trial, caplog: pytest.LogCaptureFixture) -> None:
    trainer = Trainer(tiny_trial, GRAPHS, None, never_stop)
    assert trainer.graph is None
    assert caplog.messages == [
        "the training step is not replayed as a graph: a graph needs a CUDA device, and the trial is trained on cpu"
    ]


def test_a_pack_has_no_graphs_and_says_so(
    captures: list[Again], tiny_trial: Trial, caplog: pytest.LogCaptureFixture
) -> None:
    trial = changed(tiny_trial, epochs=1)
    list(Pack({trial.trial_id}).train(trial, settings=GRAPHS))
    assert captures == []
    assert "the seeds of a pack" in caplog.text
