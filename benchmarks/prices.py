"""What a training took over what a plan says: peak memory, and the time of an epoch after a calibration."""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.throughput_gpu import CASES, SMALL, Case, given
from benchmarks.training_steps import NO_GPU, add_device_options, lacks_device, show_result, signature
from orchestrator import cost
from orchestrator.training.epoch_time import measure_epoch
from orchestrator.training.loop import Settings, Trainer, never_stop
from orchestrator.trial import Trial
from orchestrator.tuning.timing import EpochTimes

RESULTS = Path(__file__).parent / "results" / "prices.md"
DEPTH, CALIBRATED = 12, (6, 24)
"""Blocks of the model that is priced, and of those that are timed for it."""
ON_CPU = (
    Case("CIFAR-sized, D=64", 32, 4, 64, 4, 32, 640),
    Case("CIFAR-sized, D=192", 32, 4, 192, 3, 32, 320),
    Case("224 px, D=192", 224, 16, 192, 3, 16, 64),
)


@dataclass(frozen=True)
class Price:
    """Of one training."""

    expected_s: float
    took_s: float
    """An epoch."""
    need_mib: float
    peak_mib: float


def price(case: Case, attention: str, device: str, budget_s: float) -> Price:
    """Price a training and take it; in a process that has trained nothing yet, whose memory is then the training's."""

    def trial_at(depth: int) -> Trial:
        trial = case.trial(attention, depth)
        return trial if device == "cuda" else replace(trial, train=replace(trial.train, precision="fp32"))

    trial, times = trial_at(DEPTH), EpochTimes()
    _warm_up(device)
    with given(case.dataset()):
        before_mib = _memory_mib(device, at_most=False)
        trainer = Trainer(trial, Settings(device=device), None, never_stop)
        trainer.run_epoch()
        peak_mib = _memory_mib(device, at_most=True) - before_mib
        took_s = trainer.run_epoch().wall_time_s
        del trainer
        for depth in CALIBRATED:
            times.add(trial_at(depth).canonical(), measure_epoch(trial_at(depth), device, budget_s).epoch_s)
    expected_s = times.epoch_s(trial)
    assert expected_s is not None
    return Price(expected_s, took_s, need_mib(case, trial, device), peak_mib)


def _warm_up(device: str) -> None:
    """Have the libraries take what they keep for good, and forget how much memory was used so far."""
    (small,) = SMALL
    trial = small.trial("self", 1)
    with given(small.dataset()):
        trial = replace(trial, train=replace(trial.train, precision="fp32"))
        Trainer(trial, Settings(device=device), None, never_stop).run_epoch()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM becomes VmRSS


def need_mib(case: Case, trial: Trial, device: str) -> float:
    """What a plan says of it, with the pixels of these images, of which train and test are the same, in place of
    CIFAR's.
    """
    if device != "cuda":
        return cost.memory_mib(trial)
    pixels_mib = case.num_images * 3 * case.img_size**2 / 2**20
    return cost.memory_mib(trial, on_gpu=True) - cost.kept_images_mib(trial) + pixels_mib


def _memory_mib(device: str, *, at_most: bool) -> float:
    """Of the GPU's allocator, or resident of this process: now, or the most so far."""
    if device == "cuda":
        return (torch.cuda.max_memory_allocated() if at_most else torch.cuda.memory_allocated()) / 2**20
    field = "VmHWM" if at_most else "VmRSS"
    found = re.search(rf"^{field}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 2**10


def in_own_process(case: Case, attention: str, device: str, budget_s: float) -> Price:
    """`price` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(price, (case, attention, device, budget_s))


def make_table(found: Mapping[tuple[Case, str], Price]) -> str:
    """The Markdown table."""
    lines = [
        "| model | batch | attention | expected, s | took, s | took / expected | need, MiB | peak, MiB | peak / need |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (case, attention), one in found.items():
        lines.append(
            f"| {case.name} | {case.batch_size} | {attention} | {one.expected_s:.2f} | {one.took_s:.2f} "
            f"| {one.took_s / one.expected_s:.2f} | {one.need_mib:.0f} | {one.peak_mib:.0f} "
            f"| {one.peak_mib / one.need_mib:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and on a GPU write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks prices", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of a calibration (default 4)")
    add_device_options(parser, RESULTS, "smaller models in float32, and the memory of the process")
    options = parser.parse_args(list(arguments))
    if lacks_device(options.device):
        return NO_GPU
    cases = SMALL if options.small else CASES if options.device == "cuda" else ON_CPU
    found = {}
    for case in cases:
        for attention in ("self", "reattention"):
            found[case, attention] = in_own_process(case, attention, options.device, options.seconds)
            print(f"{case.name}, batch {case.batch_size}, {attention}", file=sys.stderr)
    note = (
        f"An epoch of {DEPTH} blocks, expected from {CALIBRATED[0]} and {CALIBRATED[1]} blocks that were timed for "
        f"{options.seconds:g} s each. Peaks are of the GPU's allocator, or of the process on a CPU.\n\n"
        f"{signature('prices', arguments, options.device)}"
    )
    show_result(f"{make_table(found)}\n{note}", str(__doc__), options)
    return 0
