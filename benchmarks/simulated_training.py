"""A sweep in, trained by `orch run` as ever but for one thing: in the workers a training only waits and reports.

Everything around it is the product's: Ray Tune, claims, metrics, final weights, predictions and records, each flushed
to disk, the listeners, and the MLflow mirror where the spec asks for it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Generator
from typing import Any
from unittest import mock

import numpy as np

from orchestrator.record import EpochMetrics
from orchestrator.training.checkpoint import Progress
from orchestrator.training.loop import Outcome
from orchestrator.trial import Trial
from orchestrator.tuning import ray_tune
from orchestrator.tuning.ray_trial import TuneTrial

WAIT_S = 0.02
"""Of one epoch."""
NUM_IMAGES = 359
WEIGHTS = bytes(4096)


def wait_and_report(trial: Trial, **settings: Any) -> Generator[EpochMetrics, None, Outcome]:
    """In the place of `training.loop.train`: an epoch takes `WAIT_S`, and accuracy grows with depth."""
    began = time.monotonic()
    rng = np.random.default_rng(trial.seed)
    is_correct = rng.random(NUM_IMAGES) < 0.7 + 0.2 * (1.0 - np.exp(-trial.model.depth / 10.0))
    acc = float(is_correct.mean())
    rows = []
    for epoch in range(1, trial.train.epochs + 1):
        time.sleep(WAIT_S)
        loss, lr = 2.3 / epoch, trial.train.lr
        rows.append(EpochMetrics(epoch=epoch, train_loss=loss, val_loss=loss, val_acc=acc, lr=lr, wall_time_s=WAIT_S))
        yield rows[-1]
    progress = Progress(
        epoch=len(rows),
        step=0,
        loss_sum=0.0,
        num_images=0,
        epoch_time_s=0.0,
        train_time_s=WAIT_S * len(rows),
        wall_time_s=time.monotonic() - began,
        code_fingerprint="",
        rows=tuple(rows),
    )
    return Outcome(
        num_epochs=len(rows),
        val_loss=rows[-1].val_loss,
        val_acc=acc,
        test_loss=0.4,
        test_acc=acc,
        is_correct=is_correct,
        weights=WEIGHTS,
        progress=progress,
    )


class WaitingTrial(TuneTrial):
    """The product's own trainable, in a process where training waits."""

    def setup(self, config: dict[str, Any], **more: Any) -> None:
        mock.patch("orchestrator.tuning.attempt.train", wait_and_report).start()
        super().setup(config, **more)


def run(arguments: list[str]) -> int:
    """`orch run` with these arguments; then one line of JSON on stdout with what this process, the driver, took."""
    from orchestrator.cli import run_command

    with mock.patch.object(ray_tune, "TuneTrial", WaitingTrial):
        code = run_command(["run", *arguments])
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"driver_peak_mib": peak_kib / 1024}))
    return code


if __name__ == "__main__":
    from benchmarks.simulated_training import run as run_imported  # workers import this module by its name

    sys.exit(run_imported(sys.argv[1:]))
