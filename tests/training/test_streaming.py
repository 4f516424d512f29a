from __future__ import annotations

import numpy as np
import torch

from orchestrator.training.streaming import Means, times


def test_means_over_batches_are_weighted_by_their_counts() -> None:
    means = Means()
    means.add({"a": (torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0]))})
    means.add({"a": (torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0]))})
    np.testing.assert_array_equal(means.results()["a"], [1.0, 3.0])


def test_what_was_never_counted_is_nan() -> None:
    means = Means()
    means.add({"a": (torch.zeros(2), torch.tensor([0.0, 4.0]))}, prefix="map.")
    np.testing.assert_array_equal(means.results()["map.a"], [np.nan, 0.0])


def test_sums_are_float64_whatever_comes_in() -> None:
    means = Means()
    means.add({"a": (torch.tensor(1e8, dtype=torch.float32), times(1, torch.zeros(())))})
    means.add({"a": (torch.tensor(1.0, dtype=torch.float32), times(1, torch.zeros(())))})
    assert means.results()["a"] == (1e8 + 1.0) / 2
    assert means.results()["a"].dtype == np.float64
