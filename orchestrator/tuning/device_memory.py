"""Trials about to run in; which of their cells will not fit the memory of this machine's devices out.

The need is an estimate (`cost.memory_mib`), so nothing is refused. Devices elsewhere in a cluster are not looked at.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache

from orchestrator import cost
from orchestrator.grids.sweep_spec import Resources
from orchestrator.trial import Trial
from orchestrator.tuning.doctor_machine import memory_limit

MAX_TOLD = 5
GIB = 2**10
"""In MiB."""


def memory_warnings(
    trials: Iterable[Trial], resources_of: Callable[[Trial], Resources], packs: Mapping[str, int]
) -> list[str]:
    """A sentence for each cell that needs more memory than a device here has; of many, the first ones.

    Args:
        trials: those about to run; of one cell the first counts.
        packs: seeds that one process trains together, by `cell_id`.
    """
    cells: dict[object, Trial] = {}
    for trial in trials:
        cells.setdefault((trial.model, trial.data, trial.train), trial)
    told = list(_too_large(cells.values(), resources_of, packs))
    if len(told) > MAX_TOLD:
        return [*told[:MAX_TOLD], f"{len(told) - MAX_TOLD} more cells will not fit; `orch plan` lists what each needs"]
    return told


def _too_large(
    trials: Iterable[Trial], resources_of: Callable[[Trial], Resources], packs: Mapping[str, int]
) -> Iterator[str]:
    here = cache(_memory_here)
    for trial in trials:
        resources, num_packed = resources_of(trial), packs[trial.cell_id]
        held = here(resources.gpus)
        if held is not None and cost.is_closed_form(trial) and need_mib(trial, resources, num_packed) > held:
            yield _sentence(trial, resources, held, num_packed)


def _memory_here(gpus: float) -> float | None:
    if gpus == 0:
        return ram_mib()
    whole = gpu_memory_mib()
    return None if whole is None else min(1.0, gpus) * whole


def need_mib(trial: Trial, resources: Resources, num_packed: int = 1) -> float:
    """Expected peak of one worker's device: all weights, and its share of a micro-batch, of each seed of a pack."""
    on_gpu = resources.gpus > 0
    of_others = cost.activation_mib(trial, on_gpu=on_gpu) * (1.0 - 1.0 / resources.workers)
    return cost.memory_mib(trial, on_gpu=on_gpu, num_seeds=num_packed) - num_packed * of_others


def num_seeds_in(held_mib: float, trial: Trial, resources: Resources) -> int:
    """How many seeds of a trial a device trains in one pass with so much memory; 0 where not even one."""
    one = need_mib(trial, resources)
    return max(0, 1 + math.floor((held_mib - one) / (need_mib(trial, resources, 2) - one)))


def gpu_memory_mib() -> float | None:
    """Of the GPU here that has least; None where the driver's `nvidia-smi` shows none."""
    words = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout
        return min(float(line) for line in shown.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def ram_mib() -> float:
    """Of this machine, or of its container where that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, memory_limit() or total) / 2**20


def _sentence(trial: Trial, resources: Resources, held: float, num_packed: int) -> str:
    need = need_mib(trial, resources, num_packed)
    device = "a GPU here" if resources.gpus >= 1 else "its share of a GPU here" if resources.gpus else "this machine"
    cell = trial.label.removesuffix(f"-s{trial.seed}")
    seeds = "it needs" if num_packed == 1 else f"{num_packed} seeds in one pass need"
    start = f"{cell} will not fit: {seeds} about {need / GIB:.1f} GiB and {device} has {held / GIB:.1f} GiB"
    num_fitting = num_seeds_in(held, trial, resources)
    if num_fitting:
        return f"{start}; resources.pack {num_fitting} would, else each goes on alone where memory runs out"
    size = _fitting(trial, resources, held)
    if size is None:
        return f"{start}; take a smaller model or a larger device"
    return f"{start}; train.micro_batch_size {size} would (see resources.oom), or more resources.workers"


def _fitting(trial: Trial, resources: Resources, held: float) -> int | None:
    """The largest halved micro-batch that fits; None where one image does not."""
    size = (trial.train.micro_batch_size or trial.train.batch_size) // 2
    while size >= 1:
        if need_mib(replace(trial, train=replace(trial.train, micro_batch_size=size)), resources) <= held:
            return size
        size //= 2
    return None
