from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.training.token_metrics import token_totals


def metrics(before_BPD: Tensor, after_BPD: Tensor) -> dict[str, float]:
    """Of one block."""
    totals = token_totals(torch.stack([before_BPD, after_BPD]).double())
    return {name: float(total[0] / count) for name, (total, count) in totals.items()}


def random_tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def test_equal_tokens_are_collapsed() -> None:
    after = random_tokens(3, 1, 8).expand(3, 6, 8)
    found = metrics(random_tokens(3, 6, 8, seed=1), after)
    assert found["token_cosine.raw"] == pytest.approx(1.0)
    assert found["rank_residual"] == pytest.approx(0.0, abs=1e-12)
    assert found["effective_rank"] == pytest.approx(1.0, abs=1e-5)


def test_orthogonal_tokens_of_one_length_have_full_rank() -> None:
    after = torch.eye(6)[None] * 3.0
    found = metrics(random_tokens(1, 6, 6), after)
    assert found["token_cosine.raw"] == pytest.approx(0.0, abs=1e-12)
    assert found["token_cosine.centred"] == pytest.approx(-1 / 5)
    assert found["effective_rank"] == pytest.approx(6.0)
    assert found["rank_residual"] == pytest.approx(np.sqrt(5 / 6))


def test_effective_rank_is_the_same_from_either_gram_matrix() -> None:
    tokens = random_tokens(2, 5, 9)
    wide, tall = metrics(tokens, tokens), metrics(tokens.transpose(1, 2), tokens.transpose(1, 2))
    assert wide["effective_rank"] == pytest.approx(tall["effective_rank"], rel=1e-9)


def test_a_block_that_doubles_the_stream_adds_what_is_there() -> None:
    stream = random_tokens(2, 4, 6)
    found = metrics(stream, 2.0 * stream)
    assert (found["update_size"], found["update_cosine"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert metrics(stream, 0.5 * stream)["update_cosine"] == pytest.approx(-1.0)


def test_a_block_that_adds_nothing_has_size_and_cosine_zero() -> None:
    stream = random_tokens(2, 4, 6)
    found = metrics(stream, stream)
    assert (found["update_size"], found["update_cosine"]) == (0.0, 0.0)


def test_a_single_token_has_no_other_to_compare_with() -> None:
    found = metrics(random_tokens(2, 1, 6), random_tokens(2, 1, 6, seed=1))
    assert np.isnan(found["token_cosine.raw"])
    assert found["effective_rank"] == pytest.approx(1.0)
