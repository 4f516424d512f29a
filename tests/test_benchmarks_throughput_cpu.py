"""The benchmark of a training step on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.throughput_cpu import CIFAR, DEMO, ByHand, Case, Ours, in_turn, make_table, timm_model
from benchmarks.training_steps import small_images
from orchestrator.configs import DataConfig
from orchestrator.models import build_model
from orchestrator.trial import Trial


def tiny(case: Case) -> Case:
    """One narrow block of the same kind."""
    return replace(
        case,
        model=replace(case.model, depth=1, embed_dim=case.model.num_heads * 2),
        train=replace(case.train, batch_size=8),
    )


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(before)


def trial_of(case: Case, data: DataConfig) -> Trial:
    return Trial(model=case.model, data=data, train=case.train, seed=0)


@pytest.mark.parametrize("case", [DEMO, CIFAR], ids=lambda case: case.name.partition(":")[0])
def test_the_model_by_hand_is_ours(case: Case) -> None:
    with small_images(case.model.img_size) as data:
        by_hand, ours = timm_model(tiny(case), data).state_dict(), build_model(trial_of(tiny(case), data)).state_dict()
    assert {name: value.shape for name, value in by_hand.items()} == {name: v.shape for name, v in ours.items()}


@pytest.mark.parametrize("case", [DEMO, CIFAR], ids=lambda case: case.name.partition(":")[0])
def test_both_train_on_the_same_images_and_are_measured_in_turn(case: Case) -> None:
    case = tiny(case)
    with small_images(case.model.img_size) as data:
        ours = Ours(trial_of(case, data))
        split = ours.trainer.data.train
        by_hand = ByHand(case, timm_model(case, data), split.images, split.labels, 0)
        images, labels = next(iter(by_hand.loader))
        assert images.shape == (8, data.in_chans, case.model.img_size, case.model.img_size)
        assert labels.dtype == torch.int64
        before = [parameter.clone() for parameter in by_hand.model.parameters()]
        found = in_turn({"orch": ours, "by hand": by_hand}, case, num_rounds=1)
    assert any(not old.equal(new) for old, new in zip(before, by_hand.model.parameters(), strict=True))
    assert found["orch over orch"] == 1.0
    assert found["orch"] > 0
    assert found["orch over by hand"] == pytest.approx(found["orch"] / found["by hand"])


def test_the_loop_by_hand_augments_where_the_recipe_does() -> None:
    with small_images(CIFAR.model.img_size) as data:
        split = Ours(trial_of(tiny(CIFAR), data)).trainer.data.train
    augmented = ByHand(tiny(CIFAR), nn.Linear(1, 1), split.images, split.labels, 0).loader.dataset
    assert not np.array_equal(augmented[0][0].numpy(), augmented[0][0].numpy())
    plain = replace(tiny(CIFAR), train=replace(tiny(CIFAR).train, crop_padding=0, hflip=0.0))
    kept = ByHand(plain, nn.Linear(1, 1), split.images, split.labels, 0).loader.dataset
    assert torch.equal(kept[0][0], kept[0][0])


def test_the_table_has_a_row_a_way() -> None:
    numbers = {"orch": 300.0, "a timm loop": 200.0, "orch over orch": 1.0, "orch over a timm loop": 1.5}
    assert make_table({("small", "self"): numbers}).splitlines()[2:] == [
        "| small | self | orch | 300 | 1.00 |",
        "| small | self | a timm loop | 200 | 1.50 |",
    ]
