"""views/loss_spikes.py: how many planted spikes are found, and how many flags are none."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.views.loss_spikes import find_spikes


def curve(rng: np.random.Generator, num_epochs: int, noise: float) -> np.ndarray:
    """A loss that falls as a power of the epoch, with noise on its logarithm."""
    epochs = np.arange(1, num_epochs + 1)
    return np.exp(rng.normal(0.0, noise, num_epochs)) * (0.3 + 2.0 * epochs ** -rng.uniform(0.3, 0.9))


def scored(noise: float, height: float, num_curves: int = 300) -> tuple[float, float]:
    """Precision and recall over curves of 60 epochs, every second of which has one spike of one epoch."""
    rng = np.random.default_rng(0)
    right = flagged = planted = 0
    for number in range(num_curves):
        losses = curve(rng, 60, noise)
        place = int(rng.integers(8, 60)) if number % 2 else None
        if place is not None:
            losses[place] *= height
        found = find_spikes(losses.tolist())
        right += place in found
        flagged += len(found)
        planted += place is not None
    return right / max(1, flagged), right / planted


@pytest.mark.parametrize(("noise", "height"), [(0.01, 1.5), (0.03, 1.7), (0.05, 2.0), (0.1, 3.0)])
def test_planted_spikes_are_found_and_noise_is_not(noise: float, height: float) -> None:
    precision, recall = scored(noise, height)
    assert precision >= 0.95
    assert recall >= 0.95


def test_a_curve_that_only_falls_or_is_short_has_none() -> None:
    assert find_spikes([2.0 / epoch for epoch in range(1, 40)]) == []
    assert find_spikes([1.0, 5.0]) == []
    assert find_spikes([]) == []


def test_the_epochs_of_one_spike_count_once_and_what_is_no_number_not_at_all() -> None:
    assert find_spikes([1.0, 0.9, 0.8, 0.8, 3.0, 2.5, 0.8, 0.8]) == [4]
    assert find_spikes([1.0, 0.9, 0.8, math.nan, 0.7, math.inf, 0.7]) == []
