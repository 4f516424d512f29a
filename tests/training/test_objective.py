"""objective.py: the cosine penalties against loops, and what the loss is without them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.configs import TrainConfig
from orchestrator.errors import TrainingError
from orchestrator.models import ForwardContext, build_model
from orchestrator.training.objective import Objective, mean_cosine, penalised_pairs
from orchestrator.trial import Trial
from tests.models.trials import make_trial

IMAGES = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([1, 2, 3])


def trial_with(cos_reg: str | None, depth: int = 4, attention: str = "reattention", **train: Any) -> Trial:
    return make_trial(depth=depth, attention=attention, train={"cos_reg": cos_reg, "mixup": 0.5, **train})


def maps_of(model: Any) -> dict[int, Tensor]:
    maps: dict[int, Tensor] = {}

    def keep(block_idx: int, name: str, tensor: Tensor) -> None:
        if name == "map":
            maps[block_idx] = tensor.detach()

    model(IMAGES.to(next(model.parameters()).dtype), context=ForwardContext(observer=keep))
    return maps


def cosine(first: Tensor, second: Tensor) -> float:
    return float(torch.dot(first, second) / (first.norm() * second.norm()))


def released(maps: dict[int, Tensor], num_pairs: int) -> float:
    """As the published code: vectors over heads, at every query and key, in the first blocks."""
    found = [
        cosine(maps[p][image, :, query, key], maps[p + 1][image, :, query, key])
        for p in range(num_pairs)
        for image, query, key in itertools.product(range(3), range(17), range(17))
    ]
    return sum(found) / len(found)


def paper(maps: dict[int, Tensor], num_blocks: int, depth: int = 4) -> float:
    """As the paper's M: columns of the map, for every head and key, in the last blocks."""
    found = [
        cosine(maps[p][image, head, :, key], maps[p + 1][image, head, :, key])
        for p in range(depth - num_blocks, depth - 1)
        for image, head, key in itertools.product(range(3), range(4), range(17))
    ]
    return sum(found) / len(found)


@pytest.mark.parametrize(
    ("kind", "blocks", "expected"),
    [
        ("released", 2, lambda maps: released(maps, 2)),
        ("released", None, lambda maps: released(maps, 3)),
        ("paper", 2, lambda maps: paper(maps, 2)),
        ("paper", None, lambda maps: paper(maps, 4)),
    ],
)
def test_a_penalty_is_the_mean_cosine_of_a_loop(kind, blocks, expected):
    trial = trial_with(kind, cos_reg_blocks=blocks, cos_reg_weight=0.3)
    model = build_model(trial).double().eval()
    with torch.no_grad():
        loss, cross_entropy = Objective(model, trial, is_mixed=True)(IMAGES.double(), LABELS)
        plain = F.cross_entropy(model(IMAGES.double()), LABELS)
    assert float(cross_entropy) == pytest.approx(float(plain), abs=1e-9)
    assert float(loss - cross_entropy) == pytest.approx(0.3 * expected(maps_of(model)), abs=1e-9)


def test_which_pairs_are_compared():
    assert penalised_pairs(trial_with("released", cos_reg_blocks=2)) == ((0, 1), (1, 2))
    assert penalised_pairs(trial_with("paper", cos_reg_blocks=3)) == ((1, 2), (2, 3))
    for kind, blocks in (("released", 4), ("paper", 5), ("paper", 1)):
        with pytest.raises(TrainingError, match=f"cos_reg {kind} over {blocks} blocks does not fit depth 4"):
            penalised_pairs(trial_with(kind, cos_reg_blocks=blocks))


def test_the_released_penalty_acts_only_where_images_are_mixed_and_the_papers_always():
    for kind, is_mixed, acts in (("released", False, False), ("released", True, True), ("paper", False, True)):
        trial = trial_with(kind)
        loss, cross_entropy = Objective(build_model(trial), trial, is_mixed=is_mixed)(IMAGES, LABELS)
        assert bool(loss != cross_entropy) == acts, kind


def test_without_a_penalty_the_loss_is_the_cross_entropy_of_an_unobserved_forward():
    trial = make_trial(train={"label_smoothing": 0.1})
    model = build_model(trial)

    def forward(images: Tensor) -> Tensor:
        return model(images)

    loss, cross_entropy = Objective(forward, trial, is_mixed=False)(IMAGES, LABELS)
    assert loss is cross_entropy
    assert torch.equal(loss, F.cross_entropy(model(IMAGES), LABELS, label_smoothing=0.1))
    unsmoothed, _ = Objective(forward, trial, is_mixed=True)(IMAGES, LABELS)
    assert torch.equal(unsmoothed, F.cross_entropy(model(IMAGES), LABELS))


@pytest.mark.parametrize("axis", [1, 2])
def test_equal_maps_have_cosine_one(axis):
    maps = dict.fromkeys(range(3), torch.rand(2, 4, 5, 5))
    assert float(mean_cosine(maps, ((0, 1), (1, 2)), axis)) == pytest.approx(1.0, abs=1e-6)


def test_under_bf16_the_penalty_is_computed_in_float32():
    maps = {p: torch.rand(2, 4, 5, 5).to(torch.bfloat16) for p in range(2)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mean_cosine(maps, ((0, 1),), 2)
    assert found.dtype == torch.float32
    exact = mean_cosine({p: value.double() for p, value in maps.items()}, ((0, 1),), 2)
    assert float(found) == pytest.approx(float(exact), abs=1e-6)


@pytest.mark.parametrize("kind", ["released", "paper"])
@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_descending_the_penalty_makes_maps_less_alike(kind, attention):
    trial = trial_with(kind, attention=attention, cos_reg_weight=10.0)
    model = build_model(trial)
    objective = Objective(model, trial, is_mixed=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    found = []
    for _ in range(12):
        optimizer.zero_grad()
        loss, cross_entropy = objective(IMAGES, LABELS)
        found.append(float((loss - cross_entropy).detach()))
        loss.backward()
        optimizer.step()
    assert found[-1] < found[0]


class Silent(nn.Module):
    """An attention that shows nobody its map."""

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        return x


def test_an_attention_that_shows_no_map_is_an_error():
    trial = trial_with("paper")
    model = build_model(trial)
    model.blocks[2].attn = Silent()
    with pytest.raises(TrainingError, match="cos_reg needs the map of block 2, and attention 'reattention' shows none"):
        Objective(model, trial, is_mixed=False)(IMAGES, LABELS)


def test_the_weight_is_a_tenth_where_none_is_given():
    assert TrainConfig(epochs=1, batch_size=2, lr=1e-3, cos_reg="paper").cos_reg_weight == 0.1
