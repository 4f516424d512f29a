"""Trials in their order in; packs of those that one process trains together out, and how many that may be or will be.

Packed are trials that differ in nothing but the seed. A pack stands where the first of its trials stood.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from orchestrator import cost
from orchestrator.grids.sweep_spec import Resources
from orchestrator.trial import Trial
from orchestrator.tuning.device_memory import num_seeds_in
from orchestrator.tuning.events import RunSettings

FULL_STEP = 50_000
"""Tokens of a step that fill a GPU, so that more seeds would make it no cheaper for each. Not measured yet."""
PACKED_BELOW = 30_000
"""Tokens of a step of one seed from which it is trained alone. Not measured yet."""
SHARE_OF_MEMORY = 0.8

log = logging.getLogger("orchestrator")


def pack_size(trial: Trial, resources: Resources, executor: str = "serial") -> int:
    """How many seeds of the trial's cell one process trains together, at most.

    `auto` packs on a GPU whose step of one seed, batch size times tokens, is launched slower than it is computed: so
    many seeds that their common step fills it, as far as its memory holds them by the closed form. Trained alone are
    trials on CPUs, which have no launches to save, large steps, attentions whose memory is not known, and trials under
    Ray, whose driver sees no node's GPU, and those that asked for graphs, which save launches too. The limits are
    published ones (a GPU saturates at 30,000 to 50,000 tokens a step) and not yet measured here.
    """
    if resources.workers > 1:
        return 1
    if resources.pack != "auto":
        return resources.pack
    if resources.graphs is True:
        return 1
    num_tokens = trial.train.batch_size * cost.num_tokens(trial.model)
    is_small = num_tokens < PACKED_BELOW and cost.is_closed_form(trial)
    if resources.gpus == 0 or executor != "serial" or not is_small:
        return 1
    return min(math.ceil(FULL_STEP / num_tokens), _num_in_memory(trial, resources))


def num_together(trial: Trial, num_seeds: int, resources: Resources, executor: str = "serial") -> int:
    """How many seeds the largest pack holds where `num_seeds` of the trial's cell are trained; 1: each alone."""
    largest = min(num_seeds, pack_size(trial, resources, executor))
    if largest < 2 or why_alone(trial, num_seeds, resources, executor) is not None:
        return 1
    return math.ceil(num_seeds / math.ceil(num_seeds / largest))


def why_alone(trial: Trial, num_seeds: int, resources: Resources, executor: str = "serial") -> str | None:
    """What keeps `num_seeds` seeds apart that would be trained together; None where nothing does, or they would not."""
    if min(num_seeds, pack_size(trial, resources, executor)) < 2:
        return None
    from orchestrator.training.stacked import why_not_stacked

    return why_not_stacked(trial)


def packs_by_cell(trials: Sequence[Trial], settings: RunSettings) -> dict[str, int]:
    """How many seeds of each cell go together where `trials` are trained, at most, by `cell_id`."""
    counts = Counter(trial.cell_id for trial in trials)
    first = {trial.cell_id: trial for trial in reversed(trials)}
    return {
        cell_id: num_together(trial, counts[cell_id], settings.resources_of(trial), settings.executor)
        for cell_id, trial in first.items()
    }


def make_packs(trials: Sequence[Trial], settings: RunSettings) -> list[tuple[Trial, ...]]:
    """All trials, in packs of nearly equal size for each cell; why a cell that asks for packs has none is logged."""
    cells: dict[str, list[Trial]] = {}
    for trial in trials:
        cells.setdefault(trial.cell_id, []).append(trial)
    packs = [pack for seeds in cells.values() for pack in _split(seeds, settings)]
    order = {trial.trial_id: index for index, trial in enumerate(trials)}
    return sorted(packs, key=lambda pack: order[pack[0].trial_id])


def _split(seeds: Sequence[Trial], settings: RunSettings) -> list[tuple[Trial, ...]]:
    asked = (seeds[0], len(seeds), settings.resources_of(seeds[0]), settings.executor)
    reason = why_alone(*asked)
    if reason is not None:
        log.warning("%s is trained a seed at a time: %s", seeds[0].label, reason)
    num_packs = math.ceil(len(seeds) / num_together(*asked))
    ends = [len(seeds) * index // num_packs for index in range(num_packs + 1)]
    return [tuple(seeds[start:end]) for start, end in pairwise(ends)]


def _num_in_memory(trial: Trial, resources: Resources) -> int:
    from orchestrator.training.device import gpu_memory_mib

    mib = SHARE_OF_MEMORY * min(1.0, resources.gpus) * (gpu_memory_mib() or 0.0)
    return max(1, num_seeds_in(mib, trial, resources))
