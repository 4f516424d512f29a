"""What benchmarks of a training share: its steps one after the other, and the options of those that need a GPU."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from orchestrator.training.augment import train_batches
from orchestrator.training.loop import Trainer

NO_GPU = 3
"""The exit code where a GPU is asked for and there is none."""


def endless_steps(trainer: Trainer) -> Iterator[None]:
    """Optimizer steps, batches and all, epoch after epoch."""
    epoch = 0
    while True:
        epoch += 1
        batches = train_batches(trainer.data, trainer.trial, epoch, device=trainer.device)
        for step, (images, labels) in enumerate(batches):
            trainer.train_step(images, labels, epoch, step)
            yield


def add_device_options(parser: argparse.ArgumentParser, result: Path, on_cpu: str | None = None) -> None:
    """--device, --small and --out.

    Args:
        result: where the table is written by default.
        on_cpu: what a CPU leaves out, in words.
    """
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=on_cpu and f"cpu: {on_cpu}")
    parser.add_argument("--small", action="store_true", help="one tiny model, to see that it runs")
    parser.add_argument("--out", type=Path, default=result, help=f"default {result.name} in {result.parent}")


def lacks_device(device: str) -> bool:
    """Whether there is no such device; says so on stderr."""
    if device != "cuda" or torch.cuda.is_available():
        return False
    print("this benchmark needs a CUDA device, and there is none", file=sys.stderr)
    return True
