"""Packs of trials, driven to their end, and the same trials trained alone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load
from torch import Tensor

from orchestrator.record import EpochMetrics
from orchestrator.training.loop import Outcome, train
from orchestrator.training.pack import Pack
from orchestrator.trial import Trial

Result = tuple[list[EpochMetrics], Outcome | Exception]
"""All epochs of a trial, and how it ended."""
TOLERANCE = 2e-3
"""Of weights, over the largest of their tensor, after some dozens of AdamW steps in float32: it divides a gradient near
zero by itself, rounding errors too."""


def seeds_of(trial: Trial, *, num: int = 3, model: Mapping[str, Any] | None = None, **recipe: Any) -> list[Trial]:
    """Trials of one cell."""
    changed = replace(trial, model=replace(trial.model, **(model or {})), train=replace(trial.train, **recipe))
    return [replace(changed, seed=seed) for seed in range(num)]


def run_alone(trial: Trial, **options: Any) -> Result:
    return _drain([(trial.trial_id, train(trial, **options))], lambda trial_id: None)[trial.trial_id]


def run_packed(trials: Sequence[Trial], **options: Callable[[Trial], Any]) -> dict[str, Result]:
    """What became of each trial, by its id.

    Args:
        options: of `train`, each as a function of the trial.
    """
    pack = Pack({trial.trial_id for trial in trials})
    runs = [(t.trial_id, pack.train(t, **{name: of(t) for name, of in options.items()})) for t in trials]
    return _drain(runs, pack.leave)


def _drain(runs: Sequence[tuple[str, Generator]], leave: Callable[[str], None]) -> dict[str, Result]:
    rows: dict[str, list[EpochMetrics]] = {trial_id: [] for trial_id, _ in runs}
    results: dict[str, Result] = {}
    while len(results) < len(runs):
        for trial_id, run in runs:
            if trial_id in results:
                continue
            try:
                row = next(run)
                rows[trial_id] += [row] if row is not None else []
            except StopIteration as stop:
                results[trial_id] = rows[trial_id], stop.value
            except Exception as error:
                results[trial_id] = rows[trial_id], error
            if trial_id in results:
                leave(trial_id)
    return results


def assert_alike(packed: Result, alone: Result, *, rel: float = 1e-4) -> None:
    """The same numbers up to rounding."""
    for row, other in zip(packed[0], alone[0], strict=True):
        assert row.numbers() == pytest_approx(other.numbers(), rel)
    one, other_one = packed[1], alone[1]
    assert isinstance(one, Outcome)
    assert isinstance(other_one, Outcome)
    assert one.test_loss == pytest_approx(other_one.test_loss, rel)
    weights, expected = load(one.weights), load(other_one.weights)
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        largest = float(value.abs().max().clamp(min=1e-3))
        assert float(difference(name, weights[name], value).abs().max()) <= TOLERANCE * largest, name


def difference(name: str, value: Tensor, expected: Tensor) -> Tensor:
    """Of what training determines: the bias of keys has the exact gradient zero, and moves by rounding errors alone."""
    off = (value - expected).double()
    if name.endswith("qkv.bias"):
        off.view(3, -1)[1] = 0.0
    return off


def pytest_approx(value: Any, rel: float) -> Any:
    import pytest

    return pytest.approx(value, rel=rel, abs=1e-6)


def equal_weights(one: Outcome, other: Outcome) -> bool:
    return all(torch.equal(a, b) for a, b in zip(load(one.weights).values(), load(other.weights).values(), strict=True))
