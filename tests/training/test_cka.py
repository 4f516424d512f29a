from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.training.cka import hsic_totals, linear_cka
from orchestrator.training.streaming import Means
from tests.training import probe_reference as reference


def features(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def cka_of(*batches: torch.Tensor) -> np.ndarray:
    means = Means()
    for batch in batches:
        means.add(hsic_totals(batch))
    return linear_cka(means.results()["hsic"])


def test_hsic_equals_the_published_formula_with_traces() -> None:
    x = features(0, 3, 7, 5) + 4.0  # a mean far from zero, where terms cancel
    total, _ = hsic_totals(x)["hsic"]
    for p, q in ((0, 0), (0, 1), (2, 1)):
        assert float(total[p, q]) == pytest.approx(reference.unbiased_hsic(x[p].numpy(), x[q].numpy()), rel=1e-8)


def test_rotation_scale_and_shift_of_features_leave_cka_at_one() -> None:
    x = features(1, 12, 6)
    rotation, _ = torch.linalg.qr(features(2, 6, 6))
    np.testing.assert_allclose(cka_of(torch.stack([x, 3.0 * x @ rotation + 1.0])), 1.0, rtol=1e-10)


def test_independent_features_have_cka_around_zero_whatever_their_width() -> None:
    """The biased estimate would be near 1 here: far more features than images."""
    found = cka_of(*(features(seed, 2, 8, 400) for seed in range(60)))
    assert abs(found[0, 1]) < 0.05


def test_the_ratio_is_taken_of_the_averages() -> None:
    batches = [features(seed, 3, 6, 4) for seed in range(3)]
    expected = reference.cka([batch[:, :, None].numpy() for batch in batches])
    np.testing.assert_allclose(cka_of(*batches), expected, rtol=1e-9)


def test_fewer_than_four_images_say_nothing() -> None:
    assert np.isnan(cka_of(features(0, 2, 3, 5))).all()


def test_a_block_without_variation_has_no_cka() -> None:
    x = features(3, 2, 8, 5)
    x[1] = 1.0
    found = cka_of(x)
    assert found[0, 0] == pytest.approx(1.0)
    assert np.isnan(found[1]).all()
