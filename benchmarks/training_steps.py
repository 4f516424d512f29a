"""What benchmarks of a training share: its steps one after the other, and the options of those that need a GPU."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from orchestrator import provenance
from orchestrator.configs import DataConfig
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


@contextmanager
def small_images(side: int) -> Iterator[DataConfig]:
    """The bundled digits, or 400 images of noise in a folder where they are larger than 8 pixels."""
    if side == 8:
        yield DataConfig(name="digits", num_classes=10, in_chans=1, val_fraction=0.1, test_fraction=0.2)
        return
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        for part, num_images in (("train", 40), ("test", 2)):
            for label in range(10):
                place = Path(folder, part, str(label))
                place.mkdir(parents=True)
                for row in range(num_images):
                    pixels = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(place / f"{row}.png")
        yield DataConfig(name="image_folder", id="noise", root=folder, num_classes=10, in_chans=3, val_fraction=0.0)


def kept_mib(model: nn.Module, images: Tensor) -> float:
    """What autograd keeps of a forward pass for the backward pass, parameters not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(images)
    return sum(size for size, _ in kept.values()) / 2**20


def add_device_options(parser: argparse.ArgumentParser, result: Path, on_cpu: str | None = None) -> None:
    """--device, --small and --out.

    Args:
        result: where the table is written by default.
        on_cpu: what a CPU leaves out, in words.
    """
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=on_cpu and f"cpu: {on_cpu}")
    parser.add_argument("--small", action="store_true", help="one tiny model, to see that it runs")
    parser.add_argument("--out", type=Path, default=result, help=f"default {result.name} in {result.parent}")


def signature(name: str, words: Sequence[str], device: str, packages: Sequence[str] = ()) -> str:
    """Where a benchmark was run, by what versions, and the command.

    Args:
        packages: whose versions count on a GPU too.
    """
    versions = {package: provenance.versions()[package] for package in ("orch", "python", "torch", "timm")}
    if device == "cuda":
        versions |= {"CUDA": str(torch.version.cuda)} | {package: version(package) for package in packages}
    where = torch.cuda.get_device_name() if device == "cuda" else provenance.cpu_name()
    command = shlex.join(["python", "-m", "benchmarks", name, *words])
    return f"{where}; {', '.join(f'{package} {number}' for package, number in versions.items())}. `{command}`\n"


def show_result(text: str, title: str, options: argparse.Namespace) -> None:
    """Print it, and on a GPU write it down.

    Args:
        title: the benchmark's docstring, whose first line becomes the heading.
        options: with those of `add_device_options`.
    """
    print(text)
    if options.device == "cuda" and not options.small:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(f"# {title.splitlines()[0]}\n\n{text}")


def lacks_device(device: str) -> bool:
    """Whether there is no such device; says so on stderr."""
    if device != "cuda" or torch.cuda.is_available():
        return False
    print("this benchmark needs a CUDA device, and there is none", file=sys.stderr)
    return True
