"""Images a second of a training on a CPU, over loops written by hand: around timm's model, and vit-pytorch's DeepViT.

vit-pytorch is no dependency of orch. For its rows: `pip install --no-deps --target FOLDER vit-pytorch einops`, and
FOLDER in PYTHONPATH; without it they are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.training_steps import endless_steps, small_images
from orchestrator import provenance
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.training.images import PixelImages
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.trial import Trial

ATTENTIONS = {"self": "a timm loop", "reattention": "vit-pytorch's DeepViT"}
"""What orch trains, and the peer it is measured against."""


@dataclass(frozen=True)
class Case:
    """A model, its recipe, and how many steps are measured at a stretch."""

    name: str
    model: ModelConfig
    train: TrainConfig
    stretch: int


DEMO = Case(
    "the demo's: 12 blocks, D=32, 17 tokens",
    ModelConfig(
        depth=12, embed_dim=32, num_heads=4, img_size=8, patch_size=2, mlp_ratio=2.0, global_pool="avg", init_values=0.1
    ),
    TrainConfig(epochs=12, batch_size=64, lr=4e-3, warmup_epochs=2, clip_grad=1.0),
    stretch=5,
)
CIFAR = Case(
    "CIFAR: 12 blocks, D=192, 65 tokens",
    ModelConfig(depth=12, embed_dim=192, num_heads=3, img_size=32, patch_size=4, global_pool="avg"),
    TrainConfig(epochs=100, batch_size=64, lr=1e-3, warmup_epochs=5, clip_grad=1.0, crop_padding=4, hflip=0.5),
    stretch=1,
)


class Ours:
    """The training of `orch run`, step after step."""

    def __init__(self, trial: Trial, *, is_compiled: bool = False) -> None:
        self.trainer = Trainer(trial, Settings(compile=is_compiled), None, never_stop)
        self.trainer.model.train()
        self.steps = endless_steps(self.trainer)

    def seconds(self, num_steps: int) -> float:
        """How long the next steps take, batches and all."""
        torch.use_deterministic_algorithms(True)
        return _timed(self.steps, num_steps)


class ByHand:
    """A loop as a competent user writes it: DataLoader, torchvision's transforms, AdamW; nothing is deterministic."""

    def __init__(self, case: Case, model: nn.Module, pixels: PixelImages, labels: np.ndarray, num_workers: int) -> None:
        recipe = case.train
        self.model, self.clip_grad = model.train(), recipe.clip_grad
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
        self.loader = DataLoader(
            Pictures(pixels, labels, by_hand_transform(case)), batch_size=recipe.batch_size, shuffle=True,
            drop_last=True, num_workers=num_workers, persistent_workers=num_workers > 0,
        )  # fmt: skip
        self.steps = self._steps()

    def _steps(self) -> Iterator[None]:
        while True:
            for images, labels in self.loader:
                loss = F.cross_entropy(self.model(images), labels)
                self.optimizer.zero_grad()
                loss.backward()
                if self.clip_grad is not None:
                    nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_grad)
                self.optimizer.step()
                yield

    def seconds(self, num_steps: int) -> float:
        """How long the next steps take, batches and all."""
        torch.use_deterministic_algorithms(False)
        return _timed(self.steps, num_steps)


class Pictures(Dataset[tuple[Tensor, int]]):
    """As torchvision's CIFAR10: pixels in memory, a PIL image and its transforms at each access."""

    def __init__(self, images: PixelImages, labels: np.ndarray, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.transform(self.images[row]), int(self.labels[row])


def by_hand_transform(case: Case) -> Callable[[Image.Image], Tensor]:
    """The recipe's crops and flips."""
    steps: list[Any] = []
    if case.train.crop_padding:
        steps.append(transforms.RandomCrop(case.model.img_size, padding=case.train.crop_padding))
    if case.train.hflip:
        steps.append(transforms.RandomHorizontalFlip(case.train.hflip))
    composed: Callable[[Image.Image], Tensor] = transforms.Compose(
        [*steps, transforms.ToTensor(), transforms.Normalize((0.5,), (0.25,))]
    )
    return composed


def timm_model(case: Case, data: DataConfig) -> nn.Module:
    """timm's VisionTransformer with the trial's arguments."""
    names = ("depth", "embed_dim", "num_heads", "patch_size", "img_size", "mlp_ratio", "init_values", "global_pool")
    options = {name: getattr(case.model, name) for name in names}
    return VisionTransformer(in_chans=data.in_chans, num_classes=data.num_classes, **options)


def deepvit_model(case: Case, data: DataConfig) -> nn.Module:
    """vit-pytorch's DeepViT of the same size."""
    from vit_pytorch.deepvit import DeepViT

    model = case.model
    return DeepViT(
        image_size=model.img_size, patch_size=model.patch_size, num_classes=data.num_classes, dim=model.embed_dim,
        depth=model.depth, heads=model.num_heads, dim_head=model.embed_dim // model.num_heads,
        mlp_dim=int(model.embed_dim * model.mlp_ratio), pool="mean", channels=data.in_chans,
    )  # fmt: skip


def measure(case: Case, attention: str, num_rounds: int, *, is_compiled: bool) -> dict[str, float]:
    """Images a second: orch's, and its rivals' without and with a process for their images."""
    with small_images(case.model.img_size) as data:
        trial = Trial(model=replace(case.model, attention=attention), data=data, train=case.train, seed=0)
        ours = Ours(trial)
        split = ours.trainer.data.train
        assert isinstance(split.images, PixelImages)
        build = timm_model if attention == "self" else deepvit_model
        ways: dict[str, Ours | ByHand] = {"orch": ours}
        if is_compiled:
            ways["orch, compiled"] = Ours(trial, is_compiled=True)
        for num_workers in (0, 1):
            model = build(case, data)
            name = ATTENTIONS[attention] + (", a second process" if num_workers else "")
            ways[name] = ByHand(case, model, split.images, split.labels, num_workers)
        return in_turn(ways, case, num_rounds)


def in_turn(ways: Mapping[str, Ours | ByHand], case: Case, num_rounds: int) -> dict[str, float]:
    """Images a second of each, medians over stretches taken in turn; those of `orch` over the others' are ratios."""
    for way in ways.values():
        way.seconds(2)  # compiles, and starts processes
    rounds = [{name: way.seconds(case.stretch) for name, way in ways.items()} for _ in range(num_rounds)]
    images = case.train.batch_size * case.stretch
    speeds = {name: images / statistics.median(one[name] for one in rounds) for name in ways}
    return speeds | {_ratio(name): statistics.median(one[name] / one["orch"] for one in rounds) for name in ways}


def _ratio(name: str) -> str:
    return f"orch over {name}"


def _timed(steps: Iterator[None], num_steps: int) -> float:
    began = time.perf_counter()
    for _ in range(num_steps):
        next(steps)
    return time.perf_counter() - began


def make_table(found: Mapping[tuple[str, str], Mapping[str, float]]) -> str:
    """The Markdown table, a row a way."""
    lines = ["| model | attention | trained by | images/s | orch over it |", "|---|---|---|---|---|"]
    for (case, attention), numbers in found.items():
        ways = [name for name in numbers if _ratio(name) in numbers]
        lines += [f"| {case} | {attention} | {way} | {numbers[way]:.0f} | {numbers[_ratio(way)]:.2f} |" for way in ways]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks throughput_cpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="stretches of each way, in turn (default 15)")
    parser.add_argument("--compile", action="store_true", help="measure `resources.compile` too")
    parser.add_argument("--only", choices=("demo", "cifar"), help="one model only")
    options = parser.parse_args(list(arguments))
    cases = {"demo": DEMO, "cifar": CIFAR}
    found = {}
    for case in [cases[options.only]] if options.only else cases.values():
        for attention, peer in ATTENTIONS.items():
            if attention != "self" and importlib.util.find_spec("vit_pytorch") is None:
                print(f"{peer} is left out: vit-pytorch is not installed", file=sys.stderr)
                continue
            found[case.name, attention] = measure(case, attention, options.rounds, is_compiled=options.compile)
            print(f"{case.name}, {attention}", file=sys.stderr)
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions().items() if name != "ray")
    print(make_table(found))
    print(
        f"AdamW, float32, gradients clipped; images in memory. {options.rounds} stretches in turn, one "
        f"thread each; a second process loads images on another core. {provenance.cpu_name()}, {os.cpu_count()} cores; "
        f"{versions}."
    )
    return 0
