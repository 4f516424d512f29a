from __future__ import annotations

import random
from contextlib import suppress

import numpy as np
import pytest
import torch

from orchestrator.training.randomness import seeded_globals


def draws() -> list[float]:
    return [random.random(), float(np.random.uniform()), float(torch.rand(()))]


def test_what_is_drawn_inside_depends_on_the_seed_alone() -> None:
    seen = []
    for _ in range(2):
        with seeded_globals(2**62 + 5):
            seen.append(draws())
        draws()
    with seeded_globals(2**62 + 6):
        other = draws()
    assert seen[0] == seen[1]
    assert all(a != b for a, b in zip(seen[0], other, strict=True))


def test_seeds_that_share_their_low_or_their_high_bits_are_different_streams() -> None:
    firsts = set()
    for seed in (1, 1 + 2**32, 2, 2**32):
        with seeded_globals(seed):
            firsts.add(tuple(draws()))
    assert len(firsts) == 4


def test_generators_stand_behind_the_block_where_they_stood_before() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = draws()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    with seeded_globals(3):
        draws()
    assert draws() == expected


def test_generators_are_restored_after_an_error() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    with suppress(KeyError), seeded_globals(3):
        draws()
        raise KeyError
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    assert after == before


def test_a_block_inside_a_block_leaves_the_outer_stream_as_it_was() -> None:
    with seeded_globals(5):
        draws()
        expected = draws()
    with seeded_globals(5):
        draws()
        with seeded_globals(6):
            draws()
        assert draws() == expected


@pytest.mark.gpu
def test_the_generator_of_the_cuda_device_is_seeded_and_restored() -> None:
    torch.zeros((), device="cuda")
    torch.cuda.manual_seed(1)
    before = torch.cuda.get_rng_state().tolist()
    seen = []
    for _ in range(2):
        with seeded_globals(9):
            seen.append(torch.rand(4, device="cuda").tolist())
    assert seen[0] == seen[1]
    assert torch.cuda.get_rng_state().tolist() == before
