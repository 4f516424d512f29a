from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.models import build_model
from orchestrator.models.attention import attention_class
from orchestrator.models.head_norm import HeadNorm
from orchestrator.models.softmax_attention import AttentionSpec
from orchestrator.training.theta import gain, mixing_of, norm_of, theta_arrays
from tests.models.trials import make_trial

WITH_THETA = ("mix_only", "reattention", "reattention_ln", "talking_heads")


@pytest.mark.parametrize("attention", WITH_THETA)
def test_theta_is_the_matrix_that_mixes_the_maps(attention: str) -> None:
    """Where no norm follows, the observed map is Theta times the softmax map plus a bias a head."""
    attn = build_model(make_trial(attention=attention, depth=1)).blocks[0].attn
    theta_HH = mixing_of(attn)
    assert theta_HH is not None
    assert theta_HH.shape == (4, 4)
    softmax_BHNN = torch.rand(2, 4, 5, 5)
    mixed = attn.change_map(softmax_BHNN, may_move=False, is_rounded=False)
    expected = torch.einsum("gh,bhqt->bgqt", theta_HH, softmax_BHNN)
    if attention in ("mix_only", "talking_heads"):
        difference = (mixed - expected).detach().permute(1, 0, 2, 3).flatten(1)
        np.testing.assert_allclose(difference.std(dim=1), 0.0, atol=1e-6)
    else:
        mixed_before_norm = attn.reatten_matrix(softmax_BHNN)
        difference = (mixed_before_norm - expected).detach().permute(1, 0, 2, 3).flatten(1)
        np.testing.assert_allclose(difference.std(dim=1), 0.0, atol=1e-6)


def test_an_identity_start_has_distance_zero_and_singular_values_one() -> None:
    model = build_model(make_trial(attention="reattention", reattention_init="identity"))
    found = theta_arrays([block.attn for block in model.blocks], num_heads=4)
    np.testing.assert_array_equal(found["theta_identity_distance"], 0.0)
    np.testing.assert_allclose(found["theta_singular_values"], 1.0)


def test_distance_and_singular_values_are_those_of_numpy() -> None:
    model = build_model(make_trial(attention="reattention"))
    attn = model.blocks[1].attn
    theta = attn.reatten_matrix.weight.detach()[:, :, 0, 0].double().numpy()
    found = theta_arrays([attn], num_heads=4)
    assert found["theta_identity_distance"][0] == pytest.approx(np.linalg.norm(theta - np.eye(4)) / 2.0)
    np.testing.assert_allclose(found["theta_singular_values"][0], np.linalg.svd(theta, compute_uv=False))


@pytest.mark.parametrize("attention", ["self", "batchnorm_only", "centre_only"])
def test_an_attention_that_mixes_nothing_has_no_theta(attention: str) -> None:
    attn = attention_class(attention)(AttentionSpec(dim=16, num_heads=4))
    assert mixing_of(attn) is None
    assert all(np.isnan(values).all() for values in theta_arrays([attn], num_heads=4).values())


def test_the_gain_is_what_a_norm_in_evaluation_multiplies_by() -> None:
    norm = HeadNorm(3).eval()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
        norm.running_var.copy_(torch.tensor([4.0, 1.0, 0.01]))
    step = norm(torch.ones(1, 3, 1, 1)) - norm(torch.zeros(1, 3, 1, 1))
    np.testing.assert_allclose(gain(norm, norm.running_var), step.detach().flatten(), rtol=1e-6)


@pytest.mark.parametrize(("attention", "has_norm"), [("self", False), ("batchnorm_only", True), ("gain_only", True)])
def test_the_norm_over_heads_is_found(attention: str, has_norm: bool) -> None:
    attn = attention_class(attention)(AttentionSpec(dim=16, num_heads=4))
    assert (norm_of(attn) is not None) == has_norm
