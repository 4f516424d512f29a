"""Step times told before anything was timed, over measured ones, of models that the estimate was not fitted to."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.training_steps import small_images
from orchestrator import provenance
from orchestrator.attention_cost import COSTS
from orchestrator.configs import ModelConfig, TrainConfig
from orchestrator.training.epoch_time import measure_epoch
from orchestrator.trial import Trial
from orchestrator.tuning.cold_times import step_s
from orchestrator.tuning.processor_speed import ProcessorSpeed, measure_speed

LIMIT = 0.30
"""How far an estimate may be from what was measured."""


@dataclass(frozen=True)
class Shape:
    """A model and a batch."""

    img_size: int
    patch_size: int
    depth: int
    embed_dim: int
    num_heads: int
    mlp_ratio: float
    batch_size: int

    def __str__(self) -> str:
        tokens = (self.img_size // self.patch_size) ** 2 + 1
        return f"{tokens} tokens, {self.depth} blocks, D={self.embed_dim}, H={self.num_heads}, batch {self.batch_size}"

    def model(self, attention: str) -> ModelConfig:
        """With that attention."""
        return ModelConfig(
            attention=attention, depth=self.depth, embed_dim=self.embed_dim, num_heads=self.num_heads,
            img_size=self.img_size, patch_size=self.patch_size, mlp_ratio=self.mlp_ratio,
        )  # fmt: skip


SHAPES = (
    Shape(8, 2, 6, 56, 4, 4.0, 32),
    Shape(8, 2, 16, 24, 3, 2.0, 128),
    Shape(8, 1, 3, 128, 8, 2.0, 64),
    Shape(32, 4, 8, 144, 6, 4.0, 32),
    Shape(32, 8, 5, 288, 9, 3.0, 24),
    Shape(64, 8, 6, 80, 5, 4.0, 48),
    Shape(224, 16, 3, 256, 8, 4.0, 6),
)
FOR_ALL = SHAPES[3]
"""The one that is trained with every attention."""


@dataclass(frozen=True)
class Found:
    """Of one model."""

    shape: Shape
    attention: str
    measured_s: float
    expected_s: float

    @property
    def ratio(self) -> float:
        """Expected over measured."""
        return self.expected_s / self.measured_s


def pairs(shapes: Sequence[Shape]) -> Iterator[tuple[Shape, str]]:
    """What is measured: self-attention and Re-attention of each shape, and every attention of one."""
    for shape in shapes:
        for attention in COSTS if shape == FOR_ALL else ("self", "reattention"):
            yield shape, attention


def measure(shape: Shape, attention: str, speed: ProcessorSpeed, budget_s: float) -> Found:
    """Train steps for about that long."""
    recipe = TrainConfig(epochs=1, batch_size=shape.batch_size, lr=1e-3, clip_grad=1.0)
    with small_images(shape.img_size) as data:
        trial = Trial(model=shape.model(attention), data=replace(data, val_fraction=0.0), train=recipe, seed=0)
        return Found(shape, attention, measure_epoch(trial, "cpu", budget_s).step_s, step_s(trial, speed))


def make_table(found: Sequence[Found]) -> str:
    """The Markdown table, a row a model; what is further off than allowed is marked."""
    lines = ["| model | attention | step, ms | expected, ms | expected / measured |", "|---|---|---|---|---|"]
    for one in found:
        mark = "" if is_near(one) else " !"
        lines.append(
            f"| {one.shape} | {one.attention} | {1000 * one.measured_s:.1f} | {1000 * one.expected_s:.1f} "
            f"| {one.ratio:.2f}{mark} |"
        )
    return "\n".join(lines) + "\n"


def is_near(one: Found) -> bool:
    """Whether the estimate is as near as it should be."""
    return abs(one.ratio - 1.0) <= LIMIT


def corrected(found: Sequence[Found]) -> list[Found]:
    """The same, each by what the estimates of all others are off: what is told once they were trained here."""
    factors = [
        statistics.median(1 / other.ratio for other in found if other is not one) if len(found) > 1 else 1.0
        for one in found
    ]
    return [replace(one, expected_s=factor * one.expected_s) for one, factor in zip(found, factors, strict=True)]


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table; exit code 1 where an estimate is further off than 30 %."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks cold_times", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of training a model (default 3)")
    options = parser.parse_args(list(arguments))
    found, speeds = [], []
    for shape, attention in pairs(SHAPES):
        speeds.append(measure_speed())  # as a plan at that moment would
        found.append(measure(shape, attention, speeds[-1], options.seconds))
        print(f"{shape}, {attention}: {found[-1].ratio:.2f}", file=sys.stderr)
    print(make_table(found))
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items() if name != "ray")
    print(
        f"{sum(map(is_near, found))} of {len(found)} within {LIMIT:.0%}, median ratio "
        f"{statistics.median(one.ratio for one in found):.2f}; corrected by what the others are off, "
        f"{sum(map(is_near, corrected(found)))} of {len(found)}. Float32, AdamW, one thread; "
        f"{statistics.median(s.flops_s for s in speeds) / 1e9:.0f} GFLOP/s, "
        f"{statistics.median(s.adds_s for s in speeds) / 1e9:.1f} G additions/s, "
        f"{1e9 / statistics.median(s.calls_s for s in speeds):.0f} ns a call; "
        f"{provenance.cpu_name()}, {os.cpu_count()} cores; {versions}."
    )
    return 0 if all(map(is_near, found)) else 1
