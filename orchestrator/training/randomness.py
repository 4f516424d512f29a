"""A seed in; the global random generators of Python, numpy and torch on that stream for the length of a block.

timm's transforms, random erasing, mixup and torch's dropout draw from global generators. Inside the block those draws
depend on the seed alone; behind it the generators stand where they stood before.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.random import get_bit_generator, set_bit_generator  # type: ignore[attr-defined]

_LOW_32_BITS = 0xFFFFFFFF

_idle_generators: list[np.random.MT19937] = []
"""Making one costs more than all the rest of a block, so they are kept; a list, because blocks may stand in blocks."""


@contextmanager
def seeded_globals(seed: int) -> Iterator[None]:
    """Run the block with every global generator at the start of stream `seed`, and restore them after it.

    Covers Python's `random`, numpy's legacy generator, torch on the CPU, and torch on the current CUDA device once CUDA
    is in use. Costs some 50 microseconds. Of numpy's generator one thing is not restored: the second of a pair of
    legacy normal draws, if it was still to be handed out.

    Args:
        seed: a non-negative number below 2^63, as `seeding.stream_seed` gives it.
    """
    generators = _torch_generators()
    python_state, numpy_generator = random.getstate(), get_bit_generator()
    torch_states = [generator.get_state() for generator in generators]
    own = _idle_generators.pop() if _idle_generators else np.random.MT19937(0)
    try:
        random.seed(seed)
        set_bit_generator(own)
        np.random.seed((seed & _LOW_32_BITS, seed >> 32))  # noqa: NPY002 - the global one is what libraries draw from
        for generator in generators:
            generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        set_bit_generator(numpy_generator)
        _idle_generators.append(own)
        for generator, state in zip(generators, torch_states, strict=True):
            generator.set_state(state)


def _torch_generators() -> list[torch.Generator]:
    """torch.manual_seed would queue a call for every CUDA device that is not in use yet; these are the ones in use."""
    generators = [torch.default_generator]
    if torch.cuda.is_initialized():
        generators.append(torch.cuda.default_generators[torch.cuda.current_device()])
    return generators
