"""Numbers of this protocol, kept: if they move, raise `PROTOCOL` in `trial.py` and measure them anew."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.training.loop import train
from orchestrator.trial import PROTOCOL, Trial

GOLDEN = Path(__file__).parents[1] / "data" / "protocol.json"
ARMS = {
    "self": {},
    "reattention": {"attention": "reattention"},
    "regularised": {"attention": "reattention", "reattention_last": 1, "drop_path_rate": 0.2, "init_values": 0.1},
}
RECIPES = {
    "self": {},
    "reattention": {"weight_decay": 0.1, "clip_grad": 1.0},
    "regularised": {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "ema_decay": 0.9, "crop_padding": 1},
}
TOLERANCE = 2e-3
"""Relative; other processors round otherwise, and a changed formula moves more."""


def measure(trial: Trial, arm: str) -> list[float]:
    """Training and validation loss of two epochs."""
    arm_trial = replace(trial, model=replace(trial.model, **ARMS[arm]), train=replace(trial.train, **RECIPES[arm]))
    rows = list(train(arm_trial))
    return [value for row in rows for value in (row.train_loss, row.val_loss) if value is not None]


@pytest.mark.parametrize("arm", ARMS)
def test_the_numbers_of_a_protocol_do_not_move(tiny_trial: Trial, arm: str) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["protocol"] == PROTOCOL, (
        "measure the new protocol's numbers and keep them in tests/data/protocol.json"
    )
    if not torch.__version__.startswith(f"{golden['torch']}."):
        pytest.skip(f"measured with torch {golden['torch']}; 2.11 draws other initial weights from the same seed")
    assert measure(tiny_trial, arm) == pytest.approx(golden[arm], rel=TOLERANCE), (
        "training gives other numbers than this protocol's: raise PROTOCOL in trial.py if that is meant"
    )


def test_a_changed_recipe_is_beyond_the_tolerance(tiny_trial: Trial) -> None:
    golden = json.loads(GOLDEN.read_text())
    moved = replace(tiny_trial, train=replace(tiny_trial.train, lr=tiny_trial.train.lr * 1.1))
    assert measure(moved, "self") != pytest.approx(golden["self"], rel=TOLERANCE)
