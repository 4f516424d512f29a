"""What is cut out on a CPU is what is gathered on a GPU; the gathering runs on a CPU here."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.seeding import stream_seed
from orchestrator.training.augment import train_batches
from orchestrator.training.data import Dataset, Split
from orchestrator.training.images import PixelImages, channels_first
from orchestrator.training.moving import on_device
from orchestrator.training.pixel_batches import cut_batches, gathered_batches, rectangles
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.transforms import random_erasing
from orchestrator.trial import Trial
from tests.training.pictures import make_pixels, make_trial

SIDES = (6, 6)
RECIPES: list[dict[str, Any]] = [
    {"crop_padding": padding, "hflip": hflip} for padding, hflip in product((0, 1, 4), (0.0, 0.5))
]
NO_ERASING = {"random_erasing": 0.0}
ERASING = {"crop_padding": 1, "hflip": 0.5, "random_erasing": 0.6}


def dataset() -> Dataset:
    split = Split(PixelImages(channels_first(make_pixels(70, SIDES))), np.arange(70))
    return Dataset(split, None, split, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), "")


def rows() -> tuple[Tensor, ...]:
    return torch.randperm(64, generator=torch.Generator().manual_seed(0)).split(32)


def batches(make: Any, trial: Trial, epoch: int = 2, start_step: int = 1) -> list[tuple[Tensor, Tensor]]:
    return list(make(dataset(), trial, epoch, start_step, rows()))


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_gathering_gives_every_bit_of_cutting(recipe: dict[str, Any]) -> None:
    trial = make_trial(img_size=6, **recipe)
    for (found, found_labels), (expected, labels) in zip(
        batches(gathered_batches, trial), batches(cut_batches, trial), strict=True
    ):
        assert found.is_contiguous()
        assert torch.equal(found, expected)
        assert torch.equal(found_labels, labels)


def test_what_is_erased_are_timms_rectangles_and_nothing_else_changes() -> None:
    erased_trial, whole_trial = make_trial(img_size=6, **ERASING), make_trial(img_size=6, **ERASING | NO_ERASING)
    num_erased = 0
    for (found, _), (by_timm, _), (whole, _) in zip(
        batches(gathered_batches, erased_trial),
        batches(cut_batches, erased_trial),
        batches(cut_batches, whole_trial),
        strict=True,
    ):
        assert torch.equal(found != whole, by_timm != whole)
        num_erased += int((found != whole).any(dim=(1, 2, 3)).sum())
    assert 25 < num_erased < 52


def test_erased_pixels_are_normal_noise_that_follows_the_seed() -> None:
    def erased(seed: int) -> Tensor:
        (found, _), *_ = batches(gathered_batches, make_trial(img_size=6, seed=seed, **ERASING))
        (whole, _), *_ = batches(gathered_batches, make_trial(img_size=6, seed=seed, **ERASING | NO_ERASING))
        return found[found != whole]

    noise = torch.cat([erased(seed) for seed in range(30)])
    assert abs(float(noise.mean())) < 0.1
    assert float(noise.std()) == pytest.approx(1.0, abs=0.1)
    assert torch.equal(erased(3), erased(3))


@pytest.mark.parametrize("size", [(6, 6), (32, 32), (3, 40)])
def test_rectangles_are_where_timm_erases(size: tuple[int, int]) -> None:
    recipe = make_trial(**ERASING).train
    seed = stream_seed(5, "erase", 1, 2)
    images = torch.zeros(50, 1, *size)
    with seeded_globals(seed):
        random_erasing(recipe)(images)
    expected = torch.zeros(50, *size, dtype=torch.bool)
    for image_idx, (top, left, tall, wide) in enumerate(rectangles(recipe, images.shape, seed).T.tolist()):
        expected[image_idx, top : top + tall, left : left + wide] = True
    assert torch.equal(images[:, 0] != 0, expected)
    assert expected.any()


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", [*RECIPES, ERASING], ids=str)
def test_a_gpu_sees_what_a_cpu_sees(recipe: dict[str, Any]) -> None:
    trial, here = make_trial(img_size=6, **recipe), dataset()
    there = replace(here, train=on_device(here.train, torch.device("cuda")))
    device = torch.device("cuda")
    for (found, found_labels), (expected, labels) in zip(
        train_batches(there, trial, 1, device=device), train_batches(here, trial, 1), strict=True
    ):
        assert found.is_cuda
        assert torch.equal(found_labels.cpu(), labels)
        is_whole = found.cpu() == expected
        assert float(is_whole.float().mean()) > (0.5 if "random_erasing" in recipe else 0.999999)
        assert torch.allclose(found.cpu()[is_whole], expected[is_whole])
