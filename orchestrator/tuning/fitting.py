"""A trial and how it is trained in; trained with a smaller micro-batch, where a step did not fit the device, out.

The optimizer's batch stays: gradients of its parts are added up. That is the same experiment but for rounding and the
draws of dropout, unless the model computes statistics over a batch; then it is done only where it was asked for.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator
from typing import Literal

from orchestrator.errors import DoesNotFitError
from orchestrator.failure import FailureKind
from orchestrator.record import EpochMetrics
from orchestrator.training.device import count_peak_memory_anew, release_memory
from orchestrator.training.loop import Outcome, Settings
from orchestrator.training.micro_batch import depends_on_batch, find_fitting, with_micro_batch
from orchestrator.trial import Trial
from orchestrator.tuning.failures import classify

OutOfMemoryPolicy = Literal["fail", "halve"] | None
Train = Callable[[Trial], Generator[EpochMetrics | None, None, Outcome]]


def train_that_fits(
    trial: Trial,
    train: Train,
    *,
    settings: Settings,
    policy: OutOfMemoryPolicy,
    size: int | None,
    on_halved: Callable[[int], None],
) -> Generator[EpochMetrics | None, None, Outcome]:
    """Train, and where memory runs out again from the newest checkpoint with the largest halved micro-batch that fits.

    Args:
        train: starts the training from the newest checkpoint.
        settings: what trying a size runs on.
        policy: `resources.oom`.
        size: the micro-batch an earlier start came down to; None for what the trial asks.
        on_halved: told the new size before the training goes on.

    Raises:
        DoesNotFitError: no size fits, or one that fits is not allowed; the message names the sizes that fit.
    """
    while True:
        try:
            return (yield from train(with_micro_batch(trial, size)))
        except Exception as error:
            if classify(error) is not FailureKind.OUT_OF_MEMORY:
                raise
            told = str(error).strip().partition("\n")[0]
            traceback.clear_frames(error.__traceback__)  # they hold the tensors that did not fit
        release_memory()
        if not settings.shards.is_alone:
            raise DoesNotFitError(beside_others(settings.shards.size, told))
        asked = size or trial.train.micro_batch_size or trial.train.batch_size
        size = _choose(trial, settings, policy, asked, told)
        count_peak_memory_anew()  # that of what did not fit is none of the training's
        on_halved(size)


def beside_others(num_workers: int, told: str) -> str:
    """What is told where the share of one of several workers does not fit; no smaller size is tried there."""
    return (
        f"a step of one of {num_workers} workers does not fit the memory of its device ({told}); "
        "raise resources.workers, or set train.micro_batch_size, which makes it another trial"
    )


def _choose(trial: Trial, settings: Settings, policy: OutOfMemoryPolicy, asked: int, told: str) -> int:
    start = f"a step of {asked} images does not fit the memory of the device ({told})"
    if not settings.shards.is_alone:  # the others wait in the middle of a step, and no size can be tried out
        raise DoesNotFitError(f"{start}; set a smaller train.micro_batch_size, or more resources.workers")
    fitting = find_fitting(trial, settings, asked)
    if fitting is None:
        raise DoesNotFitError(f"{start}, nor does one of a single image; take a smaller model or a larger device")
    if policy == "fail":
        why = "resources.oom is fail"
    elif policy is None and depends_on_batch(trial):
        why = "the model has batch statistics, so that a smaller micro-batch is another experiment"
    else:
        return fitting
    raise DoesNotFitError(
        f"{start}; micro_batch_size {fitting} or less would fit, and was not taken because {why}; "
        "set train.micro_batch_size, or allow it with resources.oom: halve, which marks the cell"
    )
