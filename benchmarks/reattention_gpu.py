"""What training with Re-attention costs on a GPU, over self-attention taken the same way: fused, and with maps."""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.throughput_gpu import NUM_FIRST_STEPS, WAYS, Case, Training, check_captured
from benchmarks.training_steps import NO_GPU, add_device_options, kept_mib, lacks_device, show_result, signature
from orchestrator.cost import num_tokens
from orchestrator.errors import TrainingError
from orchestrator.models import build_model, fused, reattention

FORMS = ("self", "fused", "with maps")
CASES = (
    Case("32 px, D=384, H=12", 32, 4, 384, 12, 256, 10_000),
    Case("224 px, D=384, H=12", 224, 16, 384, 12, 128, 512),
)
SMALL = (Case("small", 8, 2, 32, 2, 2, 16),)
RESULTS = Path(__file__).parent / "results" / "reattention_gpu.md"


@dataclass(frozen=True)
class Found:
    """Of one form, taken in one way."""

    images_per_second: float
    ratio: float
    """Throughput over that of self-attention taken the same way, median of stretches in turn."""
    kept_mib: float
    """What autograd keeps a layer in a plain step."""
    error: float
    """Of one attention's output at the start under bfloat16 autocast, over the norm of the float64 one."""


@contextmanager
def taken_as(form: str) -> Iterator[None]:
    """Inside, Re-attention keeps its maps if that is the form."""
    before = reattention.can_fuse
    if form == "with maps":
        reattention.can_fuse = lambda *_: False
    try:
        yield
    finally:
        reattention.can_fuse = before


def attention_of(form: str) -> str:
    return "self" if form == "self" else "reattention"


def measure_way(
    case: Case, way: str, depth: int, num_steps: int, num_rounds: int, device: str
) -> dict[str, list[float]]:
    """Seconds of stretches in turn, by form.

    Raises:
        TrainingError: a step that is to be a graph is none.
    """
    data, trainings = case.dataset(), {}
    for form in forms_on(device):
        with taken_as(form):
            trial = case.trial(attention_of(form), depth)
            trainings[form] = Training(trial, data, replace(WAYS[way], device=device))
            trainings[form].seconds(NUM_FIRST_STEPS)
        check_captured(trainings[form], WAYS[way], f"{case.name}, {form}, {way}")
    found: dict[str, list[float]] = {form: [] for form in trainings}
    for number in range(1 + num_rounds):  # in the first one blocks are compiled again, as each model starts anew
        for form, training in trainings.items():
            with taken_as(form):
                seconds = training.seconds(num_steps)
            if number > 0:
                found[form].append(seconds)
    return found


def measure(case: Case, depth: int, num_steps: int, num_rounds: int, device: str) -> dict[tuple[str, str], Found]:
    """Every way and form there is on the device; a way of which a step could not be taken is told and left out."""
    found = {}
    errors = {form: error_of(case, form, device) for form in forms_on(device)}  # first: the kernels check themselves
    kept = {form: kept_by(case, form, depth, device) for form in forms_on(device)}
    for way in ways_on(device):
        try:
            rounds = measure_way(case, way, depth, num_steps, num_rounds, device)
        except TrainingError as error:
            print(error, file=sys.stderr)
            continue
        for form, seconds in rounds.items():
            ratio = statistics.median(own / one for own, one in zip(rounds["self"], seconds, strict=True))
            speed = case.batch_size * num_steps / statistics.median(seconds)
            found[way, form] = Found(speed, ratio, kept[form], errors[form])
    return found


def cases_of(tokens: Sequence[int] | None, *, small: bool) -> list[Case]:
    """The shapes of so many tokens, or all."""
    cases = SMALL if small else CASES
    return [case for case in cases if tokens is None or num_tokens(case.trial("self", 1).model) in tokens]


def forms_on(device: str) -> tuple[str, ...]:
    return FORMS if device == "cuda" else ("self", "with maps")


def ways_on(device: str) -> tuple[str, ...]:
    return ("plain", "compiled", "compiled, a graph") if device == "cuda" else ("plain",)


def kept_by(case: Case, form: str, depth: int, device: str) -> float:
    """What autograd keeps a layer of a plain forward pass, parameters not counted, MiB."""
    model = build_model(case.trial(attention_of(form), depth)).train().to(device)
    images = torch.randn(case.batch_size, 3, case.img_size, case.img_size, device=device)
    with taken_as(form), torch.autocast(device, dtype=torch.bfloat16):
        return kept_mib(model, images) / depth


@torch.no_grad()
def error_of(case: Case, form: str, device: str) -> float:
    """Of one attention's output on eight images of normal tokens, over the norm of the float64 one."""
    trial = case.trial(attention_of(form), 1)
    attention = build_model(trial).train().blocks[0].attn
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, num_tokens(trial.model), case.embed_dim, generator=generator)
    exact = copy.deepcopy(attention).double()(x.double())
    with taken_as(form), torch.autocast(device, dtype=torch.bfloat16):
        out = attention.to(device)(x.to(device)).double().cpu()
    return float((out - exact).norm() / exact.norm())


def make_table(found: Mapping[Case, Mapping[tuple[str, str], Found]]) -> str:
    """The Markdown table."""
    lines = [
        "| shape | batch | step | form | images/s | over self | MiB a layer over self | error of bf16 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, rows in found.items():
        for (way, form), one in rows.items():
            more = one.kept_mib - rows[way, "self"].kept_mib
            lines.append(
                f"| {case.name} | {case.batch_size} | {way} | {form} | {one.images_per_second:.0f} "
                f"| {one.ratio:.2f} | {more:+.1f} | {100 * one.error:.2f} % |"
            )
    return "\n".join(lines) + "\n"


def describe(words: Sequence[str], options: argparse.Namespace) -> str:
    """What was measured, on what, and whether the kernels were used."""
    refused = sorted({reason for reason in fused._verdicts.values() if reason})
    said = (
        f"Training steps of {options.depth} blocks with AdamW under bfloat16 autocast, gradients clipped; noise, "
        "cropped and flipped. `self` is timm's self-attention (SDPA), taken the same way. Medians of "
        f"{options.rounds} stretches of {options.steps} steps in turn. The error is of one attention's output at the "
        f"start, over float64.\n\n{signature('reattention_gpu', words, options.device, packages=('triton',))}"
    )
    return said + "".join(f"\nNot fused: {reason}.\n" for reason in refused)


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and on a GPU write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks reattention_gpu", description=__doc__)
    parser.add_argument("--steps", type=int, default=10, help="of a stretch (default 10)")
    parser.add_argument("--rounds", type=int, default=7, help="stretches (default 7)")
    parser.add_argument("--depth", type=int, default=12, help="blocks of the model (default 12)")
    parser.add_argument("--tokens", type=int, nargs="+", help="of the shapes to measure (default: all)")
    add_device_options(parser, RESULTS, "with maps, without compiling and graphs")
    options = parser.parse_args(list(arguments))
    if lacks_device(options.device):
        return NO_GPU
    found = {}
    for case in cases_of(options.tokens, small=options.small):
        found[case] = measure(case, options.depth, options.steps, options.rounds, options.device)
        print(case.name, file=sys.stderr)
    show_result(f"{make_table(found)}\n{describe(arguments, options)}", str(__doc__), options)
    return 0
