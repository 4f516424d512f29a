"""What a training step with Re-attention costs on a GPU, over one with self-attention: fused, and with maps."""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.reattention_cpu import Shape
from benchmarks.training_steps import NO_GPU, add_device_options, lacks_device, show_result, signature
from orchestrator.models import build_model, fused, reattention

FORMS = ("self", "fused", "with maps")
SHAPES = (Shape("32 px, D=384, H=12", 32, 4, 384, 12, 256), Shape("224 px, D=384, H=12", 224, 16, 384, 12, 128))
SMALL = (Shape("small", 8, 2, 32, 2, 2),)
RESULTS = Path(__file__).parent / "results" / "reattention_gpu.md"


@dataclass(frozen=True)
class Found:
    """Of one form."""

    images_per_second: float
    ratio: float
    """Throughput over that of self-attention, median of steps in turn."""
    kept_mib: float
    """What autograd keeps a layer."""
    error: float | None
    """Of one attention's output at the start, over the norm of the float64 one."""


class Step:
    """One training step of one form, again and again."""

    def __init__(self, shape: Shape, form: str, depth: int, device: str) -> None:
        self.form, self.shape, self.depth, self.device = form, shape, depth, torch.device(device)
        trial = shape.trial("self" if form == "self" else "reattention")
        self.model = build_model(replace(trial, model=replace(trial.model, depth=depth))).train().to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        size = shape.img_size
        self.images = torch.randn(shape.batch_size, 3, size, size, generator=generator).to(self.device)
        self.targets = torch.randint(10, (shape.batch_size,), generator=generator).to(self.device)

    def seconds(self) -> float:
        """How long the next one takes."""
        with self._as_measured():
            began = self._now()
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                loss = F.cross_entropy(self.model(self.images), self.targets)
            loss.backward()
            self.optimizer.step()
            return self._now() - began

    def kept_mib(self) -> float:
        """What autograd keeps a layer for the backward pass, parameters not counted."""
        own = {parameter.untyped_storage().data_ptr() for parameter in self.model.parameters()}
        kept: dict[int, tuple[int, torch.Tensor]] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        with (
            self._as_measured(),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
            torch.autocast(self.device.type, dtype=torch.bfloat16),
        ):
            self.model(self.images)
        return sum(size for size, _ in kept.values()) / 2**20 / self.depth

    @torch.no_grad()
    def error(self) -> float:
        """Of one attention's output on eight images of normal tokens, over the norm of the float64 one."""
        trial = self.shape.trial("self" if self.form == "self" else "reattention")
        attention = build_model(trial).train().blocks[0].attn
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(8, self.shape.num_tokens, self.shape.embed_dim, generator=generator)
        exact = copy.deepcopy(attention).double()(x.double())
        with self._as_measured(), torch.autocast(self.device.type, dtype=torch.bfloat16):
            out = attention.to(self.device)(x.to(self.device)).double().cpu()
        return float((out - exact).norm() / exact.norm())

    @contextmanager
    def _as_measured(self) -> Iterator[None]:
        before = reattention.can_fuse
        if self.form == "with maps":
            reattention.can_fuse = lambda *_: False
        try:
            yield
        finally:
            reattention.can_fuse = before

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(shape: Shape, depth: int, num_steps: int, device: str) -> dict[str, Found]:
    """Every form there is on the device, by steps taken in turn."""
    forms = FORMS if device == "cuda" else ("self", "with maps")
    steps = {form: Step(shape, form, depth, device) for form in forms}
    for step in steps.values():
        for _ in range(3):
            step.seconds()
    rounds = [{form: step.seconds() for form, step in steps.items()} for _ in range(num_steps)]
    return {
        form: Found(
            images_per_second=shape.batch_size / statistics.median(one[form] for one in rounds),
            ratio=statistics.median(one["self"] / one[form] for one in rounds),
            kept_mib=step.kept_mib(),
            error=step.error(),
        )
        for form, step in steps.items()
    }


def make_table(found: Mapping[Shape, Mapping[str, Found]]) -> str:
    """The Markdown table."""
    lines = [
        "| shape | tokens | batch | form | images/s | over self | MiB a layer over self | error of bf16 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for shape, forms in found.items():
        for form, one in forms.items():
            more = one.kept_mib - forms["self"].kept_mib
            error = "" if one.error is None else f"{100 * one.error:.2f} %"
            lines.append(
                f"| {shape.name} | {shape.num_tokens} | {shape.batch_size} | {form} "
                f"| {one.images_per_second:.0f} | {one.ratio:.2f} | {more:+.1f} | {error} |"
            )
    return "\n".join(lines) + "\n"


def describe(words: Sequence[str], depth: int, num_steps: int, device: str) -> str:
    """What was measured, on what, and whether the kernels were used."""
    refused = sorted({reason for reason in fused._verdicts.values() if reason})
    said = (
        f"Training steps of {depth} blocks with AdamW under bfloat16 autocast; `self` is timm's self-attention (SDPA). "
        f"Medians of {num_steps} steps in turn. The error is of one attention's output at the start, over float64.\n\n"
        f"{signature('reattention_gpu', words, device, packages=('triton',))}"
    )
    return said + "".join(f"\nNot fused: {reason}.\n" for reason in refused)


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and on a GPU write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks reattention_gpu", description=__doc__)
    parser.add_argument("--steps", type=int, default=21, help="of each form, in turn (default 21)")
    parser.add_argument("--depth", type=int, default=12, help="blocks of the model (default 12)")
    add_device_options(parser, RESULTS, "without the fused form")
    options = parser.parse_args(list(arguments))
    if lacks_device(options.device):
        return NO_GPU
    found = {}
    for shape in SMALL if options.small else SHAPES:
        found[shape] = measure(shape, options.depth, options.steps, options.device)
        print(shape.name, file=sys.stderr)
    text = f"{make_table(found)}\n{describe(arguments, options.depth, options.steps, options.device)}"
    show_result(text, str(__doc__), options)
    return 0
