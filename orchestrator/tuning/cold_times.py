"""A trial and the speed of this processor in; the seconds it would train, before anything alike was timed, out.

Whatever else was timed on the processor corrects it: by what the same estimate is off there, in the median.

A step is matrix products, passes over numbers, and calls, and each takes as long as a few of those that
`processor_speed.py` times. How many was fitted to the steps of 83 models of 5 to 257 tokens and 16 to 768 channels, on
one thread of an AMD EPYC with torch 2.15, and rounded; `python -m benchmarks cold_times` holds it against other models.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

from orchestrator import cost
from orchestrator.attention_cost import COSTS, AttentionCost
from orchestrator.catalog import MAP_FREE_FROM
from orchestrator.configs import ModelConfig
from orchestrator.grids.sweep_spec import Resources
from orchestrator.trial import Trial
from orchestrator.tuning.processor_speed import ProcessorSpeed, measure_speed
from orchestrator.tuning.timing import EpochTimes

FORWARD_AND_BACKWARD = 3
"""A backward pass has twice the matrix products of the forward one."""
LINEAR = 1.35
"""The time of a layer's products over that of one plain product of as many FLOPs."""
ATTENTION = 1.9
"""The same for products of queries and keys, and of a map and values, softmax included."""
SOFTMAX_CHANNELS = 16
"""Channels of a head whose products take as long as its softmax."""
PASSES = 30.0
"""Additions that take as long as all passes over a number of the residual stream, forward and backward."""
KEPT_MAP, FREE_MAP = 29.0, 100.0
"""The same for a number of a map that is kept, and of one that is computed twice, a few images at a time."""
HEAD_NORM = 4.0
"""How many times longer a LayerNorm across heads takes, whose numbers lie far apart."""
BLOCK_CALLS, MAP_CALLS = 5900.0, 2000.0
"""Small NumPy additions that take as long as all calls of a block, and as those that keeping a map adds."""
FLOAT32 = 4
"""Bytes."""
EVALUATION = 0.37
"""An image's forward pass over its share of a training step."""


def is_one_thread(resources: Resources, num_packed: int = 1) -> bool:
    """Whether one thread of a processor trains a trial by itself, of which alone `ColdTimes` tells."""
    return resources.gpus == 0 and resources.workers == 1 and num_packed == 1


@dataclass
class ColdTimes:
    """Estimates for trials that one thread of this machine's processor trains; the processor is measured once, when
    the first of them is asked for.
    """

    measured: EpochTimes = field(default_factory=EpochTimes)
    """What trials took that one thread of it trained."""

    @cached_property
    def speed(self) -> ProcessorSpeed:
        """Of this machine's processor."""
        return measure_speed()

    @cached_property
    def correction(self) -> float:
        """Measured over estimated epochs, the median over the kinds of trials that were measured; 1 without any."""
        errors = []
        for canonical, seconds in self.measured.means():
            try:
                estimated_s = self._epoch_s(Trial.from_canonical(canonical))
            except (KeyError, TypeError, ValueError):
                continue  # another version wrote it
            errors += [seconds / estimated_s] if estimated_s is not None else []
        return statistics.median(errors) if errors else 1.0

    def trial_s(self, trial: Trial) -> float | None:
        """Expected seconds of all epochs of `trial`; None where nothing here tells: for what only the built model
        knows, or for a dataset whose size is not known beforehand.
        """
        epoch_s = self._epoch_s(trial)
        num_epochs = trial.train.epochs + trial.train.cooldown_epochs
        return None if epoch_s is None else self.correction * epoch_s * num_epochs

    def _epoch_s(self, trial: Trial) -> float | None:
        """As estimated, not corrected."""
        num_images = cost.num_images(trial.data)
        if num_images is None or not _is_plain(trial):
            return None
        num_train, num_val, _ = num_images
        num_steps = max(1.0, num_train // trial.train.batch_size)
        return step_s(trial, self.speed) * (num_steps + EVALUATION * num_val / trial.train.batch_size)


def step_s(trial: Trial, speed: ProcessorSpeed) -> float:
    """Seconds of one optimizer step in float32, the loading of its images included.

    Raises:
        KeyError: the attention has no closed form.
    """
    step = 0.0
    for name, num_blocks in Counter(cost.block_attentions(trial.model)).items():
        costs = COSTS[name]
        num_calls = BLOCK_CALLS + (0.0 if costs.map_bytes is None else MAP_CALLS)
        step += num_blocks * (trial.train.batch_size * _image_s(trial.model, costs, speed) + num_calls / speed.calls_s)
    return step


def _image_s(model: ModelConfig, costs: AttentionCost, speed: ProcessorSpeed) -> float:
    """Seconds of one image in one block, forward and backward, calls not counted."""
    tokens, dim, hidden = cost.num_tokens(model), model.embed_dim, cost.num_hidden(model)
    pairs = model.num_heads * tokens**2
    channels = dim // model.num_heads + SOFTMAX_CHANNELS
    linear = LINEAR * tokens * (8 * dim**2 + 4 * dim * hidden)
    attention = ATTENTION * 2 * (1 + costs.num_sums) * pairs * channels
    stream = PASSES * tokens * (7 * dim + 2 * hidden)
    adds = stream + _map_adds(costs, tokens, pairs)
    return FORWARD_AND_BACKWARD * (linear + attention) / speed.flops_s + adds / speed.adds_s


def _map_adds(costs: AttentionCost, num_tokens: int, pairs: int) -> float:
    """Additions that take as long as what is done to maps beyond softmax and the sum of values."""
    if costs.map_bytes is None:
        return 0.0
    passes = FREE_MAP if costs.is_map_free and num_tokens >= MAP_FREE_FROM else KEPT_MAP
    return passes * (HEAD_NORM if costs.is_head_norm else 1.0) * pairs * costs.map_bytes[0] / FLOAT32


def _is_plain(trial: Trial) -> bool:
    """Whether a step of it is what the constants were fitted to."""
    recipe = trial.train
    is_usual = recipe.precision == "fp32" and recipe.cos_reg is None and not recipe.needs_pillow
    return is_usual and cost.is_closed_form(trial)
