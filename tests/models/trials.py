"""Small trials for the tests of models."""

from __future__ import annotations

from typing import Any

from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.trial import Trial

SMALL: dict[str, Any] = {"depth": 3, "embed_dim": 24, "num_heads": 4, "patch_size": 2, "img_size": 8}
PAPER: dict[str, Any] = {"embed_dim": 384, "num_heads": 12, "patch_size": 16, "img_size": 224, "mlp_ratio": 3.0}


def make_trial(*, seed: int = 0, num_classes: int = 10, in_chans: int = 1, train: Any = None, **model: Any) -> Trial:
    """A trial of `SMALL` with the model fields that are given changed."""
    return Trial(
        model=ModelConfig(**(SMALL | model)),
        data=DataConfig(name="digits", num_classes=num_classes, in_chans=in_chans),
        train=TrainConfig(**({"epochs": 1, "batch_size": 4, "lr": 1e-3} | (train or {}))),
        seed=seed,
    )
