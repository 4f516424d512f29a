"""What a training step with Re-attention costs on a CPU, over one with self-attention: with maps kept, and without."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from benchmarks.training_steps import kept_mib
from orchestrator import provenance
from orchestrator.catalog import MAP_FREE_FROM
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.models import build_model, reattention
from orchestrator.trial import Trial

FORMS = {"self": 10**9, "with maps": 10**9, "without maps": 0}
"""Name to the number of tokens from which maps are not kept."""


@dataclass(frozen=True)
class Shape:
    """A model, two blocks of which are trained on a batch."""

    name: str
    img_size: int
    patch_size: int
    embed_dim: int
    num_heads: int
    batch_size: int

    @property
    def num_tokens(self) -> int:
        return (self.img_size // self.patch_size) ** 2 + 1

    def trial(self, attention: str) -> Trial:
        """A trial of that model."""
        return Trial(
            model=ModelConfig(
                attention=attention, depth=2, embed_dim=self.embed_dim, num_heads=self.num_heads,
                img_size=self.img_size, patch_size=self.patch_size,
            ),
            data=DataConfig(name="digits", num_classes=10, in_chans=3),
            train=TrainConfig(epochs=1, batch_size=self.batch_size, lr=1e-3),
            seed=0,
        )  # fmt: skip


SHAPES = (
    Shape("the demo's", 8, 2, 48, 4, 64),
    Shape("CIFAR, D=192, H=3", 32, 4, 192, 3, 32),
    Shape("CIFAR, D=192, H=12", 32, 4, 192, 12, 32),
    Shape("CIFAR, D=384, H=12", 32, 4, 384, 12, 32),
    Shape("224 px, D=384, H=12", 224, 16, 384, 12, 8),
)


class Step:
    """One training step of one form, again and again."""

    def __init__(self, shape: Shape, form: str) -> None:
        self.map_free_from = FORMS[form]
        self.model = build_model(shape.trial("self" if form == "self" else "reattention")).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(shape.batch_size, 3, shape.img_size, shape.img_size, generator=generator)
        self.targets = torch.randint(10, (shape.batch_size,), generator=generator)

    def seconds(self) -> float:
        """How long the next one takes."""
        with map_free_from(self.map_free_from):
            began = time.perf_counter()
            self.optimizer.zero_grad()
            F.cross_entropy(self.model(self.images), self.targets).backward()
            self.optimizer.step()
            return time.perf_counter() - began

    def kept_mib(self) -> float:
        """What autograd keeps for the backward pass, parameters not counted."""
        with map_free_from(self.map_free_from):
            return kept_mib(self.model, self.images)


@contextmanager
def map_free_from(num_tokens: int) -> Iterator[None]:
    """From so many tokens on maps are not kept."""
    before, reattention.MAP_FREE_FROM = reattention.MAP_FREE_FROM, num_tokens
    try:
        yield
    finally:
        reattention.MAP_FREE_FROM = before


def measure(shape: Shape, num_steps: int) -> tuple[dict[str, float], dict[str, float]]:
    """Step time and kept memory of each form over those of self-attention; medians of steps taken in turn."""
    steps = {form: Step(shape, form) for form in FORMS}
    for step in steps.values():
        step.seconds()
    rounds = [{form: step.seconds() for form, step in steps.items()} for _ in range(num_steps)]
    times = {form: statistics.median(one[form] / one["self"] for one in rounds) for form in FORMS}
    memory = {form: step.kept_mib() for form, step in steps.items()}
    return times, {form: size / memory["self"] for form, size in memory.items()}


def make_table(found: Mapping[Shape, tuple[Mapping[str, float], Mapping[str, float]]]) -> str:
    """The Markdown table; the form that is used is marked."""
    lines = [
        "| shape | tokens | time, with maps | time, without | memory, with maps | memory, without |",
        "|---|---|---|---|---|---|",
    ]
    for shape, (times, memory) in found.items():
        used = "without maps" if shape.num_tokens >= MAP_FREE_FROM else "with maps"
        cells = [f"{times[form]:.2f}{' *' if form == used else ''}" for form in ("with maps", "without maps")]
        cells += [f"{memory[form]:.2f}{' *' if form == used else ''}" for form in ("with maps", "without maps")]
        lines.append(f"| {shape.name} | {shape.num_tokens} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks reattention_cpu", description=__doc__)
    parser.add_argument("--steps", type=int, default=21, help="of each form, in turn (default 21)")
    parser.add_argument("--threads", type=int, default=1, help="as a trial of one CPU has (default 1)")
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(options.threads)
    found = {}
    for shape in SHAPES:
        found[shape] = measure(shape, options.steps)
        print(shape.name, file=sys.stderr)
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items() if name != "ray")
    print(make_table(found))
    print(
        "A step of two blocks over one with self-attention as orch trains it (timm's; of few tokens with its map), "
        "AdamW, float32; * marks what is used. "
        f"{options.steps} steps in turn, {options.threads} thread; {provenance.cpu_name()}, {os.cpu_count()} cores; "
        f"{versions}."
    )
    return 0
