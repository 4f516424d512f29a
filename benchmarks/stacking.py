"""What a step of several seeds costs over a step of one: stacked in one process, and as processes beside each other."""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training_steps import NO_GPU, add_device_options, lacks_device, show_result, signature
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.training import loop
from orchestrator.training.augment import train_batches
from orchestrator.training.data import Dataset
from orchestrator.training.images import PixelImages, Split
from orchestrator.training.loading import Batch
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.training.stacked import Stack
from orchestrator.trial import Trial

NUM_SEEDS = (1, 2, 3, 6)
RESULTS = Path(__file__).parent / "results" / "stacking.md"
NUM_IMAGES = 4096
SECONDS_FOR_PROCESSES = 300.0


@dataclass(frozen=True)
class Shape:
    """A model and a batch."""

    name: str
    attention: str
    depth: int
    embed_dim: int
    num_heads: int
    patch_size: int
    batch_size: int
    img_size: int = 32

    def trial(self, seed: int, precision: str) -> Trial:
        """One seed of it, with crops, flips and clipping."""
        return Trial(
            model=ModelConfig(
                depth=self.depth, embed_dim=self.embed_dim, num_heads=self.num_heads, patch_size=self.patch_size,
                img_size=self.img_size, attention=self.attention,
            ),
            data=DataConfig(name="cifar100", num_classes=100, in_chans=3),
            train=TrainConfig(
                epochs=1000, batch_size=self.batch_size, lr=1e-3, precision=precision, crop_padding=4, hflip=0.5,
                clip_grad=1.0,
            ),
            seed=seed,
        )  # fmt: skip

    @property
    def tokens(self) -> int:
        """Of a step of one seed."""
        return self.batch_size * ((self.img_size // self.patch_size) ** 2 + 1)


SHAPES: Mapping[str, tuple[Shape, ...]] = {
    "cuda": (
        Shape("CIFAR, D=192", "self", 12, 192, 12, 4, 256),
        Shape("CIFAR, D=192, Re-attention", "reattention", 12, 192, 12, 4, 256),
        Shape("CIFAR, D=384", "self", 12, 384, 12, 4, 256),
    ),
    "cpu": (
        Shape("8 px, D=48, batch 16", "self", 4, 48, 4, 2, 16, 8),
        Shape("8 px, D=48, batch 64", "self", 4, 48, 4, 2, 64, 8),
        Shape("8 px, D=48, batch 64, Re-attention", "reattention", 4, 48, 4, 2, 64, 8),
        Shape("CIFAR, D=192, batch 16", "self", 2, 192, 12, 4, 16),
    ),
}
SMALL = (Shape("small", "self", 1, 16, 2, 4, 4, 8),)


@dataclass(frozen=True)
class Found:
    """Of one number of seeds; ratios are of the time of a step of one seed alone, loading included."""

    stacked: float
    processes: float | None
    """The slowest of as many processes; None where they were not measured."""


class Alone:
    """Steps of one seed."""

    def __init__(self, trial: Trial, device: str) -> None:
        self.trainer = Trainer(trial, Settings(device=device), None, never_stop)
        self.trainer.model.train()
        self.batches, self.steps = endless(self.trainer), count()

    def step(self) -> None:
        """Load and train one."""
        self.trainer.train_step(*next(self.batches), 1, next(self.steps))


class Together:
    """Steps of stacked seeds."""

    def __init__(self, trials: Sequence[Trial], device: str) -> None:
        trainers = [Trainer(trial, Settings(device=device), None, never_stop) for trial in trials]
        self.stack, self.steps = Stack(trainers), count()
        self.batches = [endless(trainer) for trainer in trainers]

    def step(self) -> None:
        """Load and train one of each."""
        self.stack.train_step([next(batches) for batches in self.batches], 1, next(self.steps))


def endless(trainer: Trainer) -> Iterator[Batch]:
    """Epoch after epoch."""
    for epoch in count(1):
        yield from train_batches(trainer.data, trainer.trial, epoch)


def random_data(config: DataConfig, img_size: int) -> Dataset:
    """Pixels in place of CIFAR-100, which need not be there."""
    generator = np.random.default_rng(0)

    def split(num: int) -> Split:
        pixels = generator.integers(0, 256, (num, 3, img_size, img_size), dtype=np.uint8)
        return Split(PixelImages(pixels), generator.integers(0, 100, num))

    return Dataset(split(NUM_IMAGES), None, split(16), (0.5,) * 3, (0.25,) * 3, "0" * 16)


def seconds(steps: Alone | Together, device: str, num: int = 1) -> float:
    """How long the next ones take."""
    began = time.perf_counter()
    for _ in range(num):
        steps.step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def measure_stacked(shape: Shape, precision: str, num_rounds: int, device: str) -> tuple[dict[int, float], float]:
    """Ratio by number of seeds, by steps taken in turn; and the seconds of a step alone."""
    alone = Alone(shape.trial(0, precision), device)
    stacks = {num: Together([shape.trial(seed, precision) for seed in range(num)], device) for num in NUM_SEEDS}
    for steps in (alone, *stacks.values()):
        seconds(steps, device, 3)
    rounds = [
        (seconds(alone, device), {num: seconds(stack, device) for num, stack in stacks.items()})
        for _ in range(num_rounds)
    ]
    ratios = {num: statistics.median(found[num] / one for one, found in rounds) for num in NUM_SEEDS}
    return ratios, statistics.median(one for one, _ in rounds)


def measure_processes(shape: Shape, precision: str, num: int, num_steps: int, device: str) -> float:
    """Seconds of the slowest of `num` processes at once, over those of the first before the others began."""
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(num), context.SimpleQueue()
    workers = [
        context.Process(target=_work, args=(rank, shape, precision, num_steps, device, barrier, told), daemon=True)
        for rank in range(num)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(SECONDS_FOR_PROCESSES)
    if any(worker.exitcode != 0 for worker in workers):
        for worker in workers:
            worker.kill()
        raise RuntimeError(f"{num} processes beside each other did not end")
    found = [told.get() for _ in workers]
    (alone,) = [alone for alone, _ in found if alone is not None]
    return max(together for _, together in found) / alone


def _work(rank: int, shape: Shape, precision: str, num_steps: int, device: str, barrier: Any, told: Any) -> None:
    loop.load_data = random_data
    steps = Alone(shape.trial(rank, precision), device)
    seconds(steps, device, 3)
    barrier.wait(SECONDS_FOR_PROCESSES)
    alone = seconds(steps, device, num_steps) if rank == 0 else None
    barrier.wait(SECONDS_FOR_PROCESSES)
    told.put((alone, seconds(steps, device, num_steps)))


def make_table(found: Mapping[Shape, tuple[Mapping[int, Found], float]]) -> str:
    """The Markdown table."""
    lines = [
        "| shape | tokens a step | ms a step of one | seeds | stacked | processes |",
        "|---|---|---|---|---|---|",
    ]
    for shape, (ratios, one_s) in found.items():
        for num, one in ratios.items():
            processes = "" if one.processes is None else f"{one.processes:.2f}"
            lines.append(
                f"| {shape.name} | {shape.tokens:,} | {1000 * one_s:.1f} | {num} | {one.stacked:.2f} | {processes} |"
            )
    return "\n".join(lines) + "\n"


def describe(words: Sequence[str], precision: str, num_rounds: int, device: str) -> str:
    """What was measured, and on what."""
    threads = "" if device == "cuda" else ", one thread a process"
    return (
        "Times over that of a step of one seed alone, loading, crops, flips and clipping included; "
        f"{precision}, AdamW{threads}. Stacked: medians of {num_rounds} steps in turn. "
        "Processes: the slowest of as many at once.\n\n"
        f"{signature('stacking', words, device)}"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and on a GPU write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks stacking", description=__doc__)
    parser.add_argument("--rounds", type=int, default=21, help="steps of each, in turn (default 21)")
    parser.add_argument("--no-processes", action="store_true", help="leave out processes beside each other")
    parser.add_argument("--only", default="", help="shapes whose name has this text")
    add_device_options(parser, RESULTS)
    options = parser.parse_args(list(arguments))
    if lacks_device(options.device):
        return NO_GPU
    precision = "bf16" if options.device == "cuda" else "fp32"
    found: dict[Shape, tuple[Mapping[int, Found], float]] = {}
    before, loop.load_data = loop.load_data, random_data
    try:
        for shape in SMALL if options.small else SHAPES[options.device]:
            if options.only not in shape.name:
                continue
            stacked, one_s = measure_stacked(shape, precision, options.rounds, options.device)
            rows = {}
            for num, ratio in stacked.items():
                several = num > 1 and not options.no_processes
                beside = measure_processes(shape, precision, num, options.rounds, options.device) if several else None
                rows[num] = Found(ratio, beside)
            found[shape] = rows, one_s
            print(make_table({shape: found[shape]}), file=sys.stderr)
    finally:
        loop.load_data = before
    text = f"{make_table(found)}\n{describe(arguments, precision, options.rounds, options.device)}"
    show_result(text, str(__doc__), options)
    return 0
