"""Every attention, scale and penalty trains, stops and goes on to the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.catalog import ATTENTIONS
from orchestrator.errors import StoppedError
from orchestrator.record import EpochMetrics
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.loop import Outcome, train
from orchestrator.trial import Trial
from tests.models.trials import make_trial

SIZES: dict[str, Any] = {"depth": 2, "embed_dim": 16, "num_heads": 2, "patch_size": 4, "attn_drop_rate": 0.1}
RECIPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "scaled branches": ({"residual_scale": "1/sqrt(depth)"}, {}),
    "penalty as released": ({"attention": "reattention"}, {"cos_reg": "released", "mixup": 0.5}),
    "penalty of the paper": ({}, {"cos_reg": "paper", "micro_batch_size": 16, "precision": "bf16"}),
    "everything frozen and normed": (
        {"attention": "reattention", "reattention_frozen": True, "qk_norm": True},
        {"ema_decay": 0.9},
    ),
}


def tiny(model: dict[str, Any], recipe: dict[str, Any]) -> Trial:
    """Five steps of 32 images."""
    train_fields = {"epochs": 1, "batch_size": 32, "lr": 3e-3, "clip_grad": 1.0} | recipe
    trial = make_trial(train=train_fields, **(SIZES | model))
    return replace(trial, data=replace(trial.data, val_fraction=0.1, test_fraction=0.9))


def run(trial: Trial, **options: Any) -> tuple[list[EpochMetrics], Outcome]:
    rows, generator = [], train(trial, **options)
    while True:
        try:
            rows.append(next(generator))
        except StopIteration as stop:
            return rows, stop.value


CASES = {name: ({"attention": name}, {}) for name in ATTENTIONS} | RECIPES


@pytest.mark.parametrize("case", list(CASES))
def test_it_trains_stops_and_goes_on_to_the_same_bits(case: str, tmp_path: Path) -> None:
    trial, store, asked = tiny(*CASES[case]), CheckpointStore(tmp_path), iter(range(99))
    rows, whole = run(trial)
    with pytest.raises(StoppedError):
        run(trial, checkpoints=store, should_stop=lambda: next(asked) == 3)
    _, resumed = run(trial, checkpoints=store, start_from=store.load_newest())
    assert resumed.weights == whole.weights
    assert [row.numbers() for row in resumed.progress.rows] == [row.numbers() for row in rows]


def test_the_reported_loss_is_the_cross_entropy_without_the_penalty() -> None:
    plain, penalised = (
        run(tiny({}, {"lr": 1e-12, "min_lr": 0.0} | recipe))[0] for recipe in ({}, {"cos_reg": "paper"})
    )
    assert penalised[0].train_loss == pytest.approx(plain[0].train_loss, rel=1e-5)


def test_a_penalty_changes_what_is_learned() -> None:
    plain, penalised = (run(tiny({}, recipe))[1] for recipe in ({}, {"cos_reg": "paper"}))
    assert plain.weights != penalised.weights


def test_the_learning_rate_that_is_reported_is_that_of_the_schedule() -> None:
    scaled = {"residual_scale": "1/sqrt(depth)", "residual_base_depth": 8}
    assert run(tiny(scaled, {}))[0][0].lr == run(tiny({}, {}))[0][0].lr
