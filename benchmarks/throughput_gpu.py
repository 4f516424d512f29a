"""Images a second of a whole training on a GPU, augmentation included: CIFAR-sized, and ViT-S/16 at 224 pixels.

Short steps, which launches hold up, are measured as CUDA graphs too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.training_steps import NO_GPU, add_device_options, endless_steps, lacks_device, show_result, signature
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.errors import TrainingError
from orchestrator.training import loop
from orchestrator.training.data import Dataset, Split
from orchestrator.training.graphs import NUM_WARM_UP
from orchestrator.training.images import PixelImages
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.trial import Trial

RESULTS = Path(__file__).parent / "results" / "throughput_gpu.md"


@dataclass(frozen=True)
class Case:
    """A model, a batch size, and how many images of noise there are."""

    name: str
    img_size: int
    patch_size: int
    embed_dim: int
    num_heads: int
    batch_size: int
    num_images: int
    is_short: bool = False
    """Whether its steps are measured as graphs too."""

    def trial(self, attention: str, depth: int) -> Trial:
        """A trial with crops and flips, in bf16."""
        return Trial(
            model=ModelConfig(
                attention=attention, depth=depth, embed_dim=self.embed_dim, num_heads=self.num_heads,
                img_size=self.img_size, patch_size=self.patch_size, global_pool="avg",
            ),
            data=DataConfig(name="cifar10", num_classes=10, in_chans=3),
            train=TrainConfig(
                epochs=100, batch_size=self.batch_size, lr=1e-3, warmup_epochs=5, clip_grad=1.0, precision="bf16",
                crop_padding=self.img_size // 8, hflip=0.5,
            ),
            seed=0,
        )  # fmt: skip

    def dataset(self) -> Dataset:
        """Noise, in memory."""
        generator = torch.Generator().manual_seed(0)
        shape = (self.num_images, 3, self.img_size, self.img_size)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        labels = torch.randint(10, (self.num_images,), generator=generator).numpy()
        split = Split(PixelImages(pixels.numpy()), labels)
        return Dataset(split, None, split, (0.5,) * 3, (0.25,) * 3, "noise")


CASES = (
    Case("CIFAR-sized, D=192", 32, 4, 192, 3, 256, 50_000, is_short=True),
    Case("CIFAR-sized, D=192", 32, 4, 192, 3, 1024, 50_000),
    Case("ViT-S/16, 224 px", 224, 16, 384, 6, 256, 1024),
)
SMALL = (Case("small", 8, 2, 16, 2, 8, 64, is_short=True),)
WAYS = {
    "plain": Settings(),
    "compiled": Settings(compile=True),
    "plain, a graph": Settings(graphs=True),
    "compiled, a graph": Settings(compile=True, graphs=True),
}
NUM_FIRST_STEPS = NUM_WARM_UP + 2
"""After which everything is compiled and captured."""


@dataclass(frozen=True)
class Found:
    """Of one case, taken in one way."""

    images_per_second: float
    first_s: float
    """Seconds until the first steps were done, with compiling and capturing."""
    peak_mib: float
    """Of the GPU's allocator; 0 on a CPU."""


class Training:
    """Steps of one trial, batches and all, epoch after epoch."""

    def __init__(self, trial: Trial, data: Dataset, settings: Settings) -> None:
        with given(data):
            self.trainer = Trainer(trial, settings, None, never_stop)
        self.trainer.model.train()
        self.steps = endless_steps(self.trainer)

    def seconds(self, num_steps: int) -> float:
        """How long the next steps take."""
        began = self._now()
        for _ in range(num_steps):
            next(self.steps)
        return self._now() - began

    def _now(self) -> float:
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


@contextmanager
def given(data: Dataset) -> Iterator[None]:
    """A trainer that is made inside trains on `data`."""
    before, loop.load_data = loop.load_data, lambda *_: data
    try:
        yield
    finally:
        loop.load_data = before


def measure(case: Case, attention: str, depth: int, num_steps: int, num_rounds: int, device: str) -> dict[str, Found]:
    """Every way, in stretches taken in turn; on a CPU plain alone.

    Raises:
        TrainingError: a step that is to be a graph is none.
    """
    data, trial = case.dataset(), case.trial(attention, depth)
    trainings, first_s, peaks = {}, {}, {}
    for name in ways_of(case, device):
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        trainings[name] = Training(trial, data, replace(WAYS[name], device=device))
        first_s[name] = trainings[name].seconds(NUM_FIRST_STEPS)
        check_captured(trainings[name], WAYS[name], f"{case.name}, {attention}, {name}")
        peaks[name] = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0
    rounds = [{name: one.seconds(num_steps) for name, one in trainings.items()} for _ in range(num_rounds)]
    images = case.batch_size * num_steps
    return {
        name: Found(images / statistics.median(one[name] for one in rounds), first_s[name], peaks[name])
        for name in trainings
    }


def check_captured(training: Training, settings: Settings, what: str) -> None:
    """A step that was to be a graph is one.

    Raises:
        TrainingError: it is none; `what` was measured.
    """
    graph = training.trainer.graph
    if settings.graphs and (graph is None or not graph.is_captured):
        raise TrainingError(f"{what}: the step is no graph, for the reason logged above")


def ways_of(case: Case, device: str) -> list[str]:
    """The ways in which a case is measured."""
    if device != "cuda":
        return ["plain"]
    return [name for name, settings in WAYS.items() if case.is_short or not settings.graphs]


def make_table(found: Mapping[tuple[Case, str], Mapping[str, Found]]) -> str:
    """The Markdown table."""
    lines = [
        f"| model | batch | attention | step | images/s | over plain | first {NUM_FIRST_STEPS} steps, s | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (case, attention), ways in found.items():
        for name, one in ways.items():
            ratio = one.images_per_second / ways["plain"].images_per_second
            lines.append(
                f"| {case.name} | {case.batch_size} | {attention} | {name} | {one.images_per_second:.0f} "
                f"| {ratio:.2f} | {one.first_s:.1f} | {one.peak_mib:.0f} |"
            )
    return "\n".join(lines) + "\n"


def describe(words: Sequence[str], options: argparse.Namespace) -> str:
    """What was measured, and on what."""
    return (
        f"{options.depth} blocks, bfloat16 autocast, AdamW, gradients clipped; noise in memory, cropped and flipped. "
        f"Medians of {options.rounds} stretches of {options.steps} steps in turn. A peak counts what the "
        f"rows above it keep: weights, and the activations of a graph.\n\n"
        f"{signature('throughput_gpu', words, options.device)}"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and on a GPU write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks throughput_gpu", description=__doc__)
    parser.add_argument("--steps", type=int, default=50, help="of a stretch (default 50)")
    parser.add_argument("--rounds", type=int, default=5, help="stretches (default 5)")
    parser.add_argument("--depth", type=int, default=12, help="blocks of the model (default 12)")
    parser.add_argument("--attention", nargs="+", default=["self"], help="default self")
    add_device_options(parser, RESULTS, "without compiling and graphs")
    options = parser.parse_args(list(arguments))
    if lacks_device(options.device):
        return NO_GPU
    found = {}
    for case in SMALL if options.small else CASES:
        for attention in options.attention:
            settings = (options.depth, options.steps, options.rounds, options.device)
            found[case, attention] = measure(case, attention, *settings)
            print(f"{case.name}, batch {case.batch_size}, {attention}", file=sys.stderr)
    text = f"{make_table(found)}\n{describe(arguments, options)}"
    show_result(text, str(__doc__), options)
    return 0
