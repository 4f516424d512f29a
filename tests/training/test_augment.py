from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.training.augment import eval_batches, steps_per_epoch, train_batches
from orchestrator.training.data import Dataset, Split, load_data
from orchestrator.training.images import PixelImages, channels_first
from orchestrator.training.loading import Batch
from tests.training.pictures import DIGITS, folder_config, make_pixels, make_trial, write_tree

PLAIN: dict[str, Any] = {}
BATCHED: dict[str, Any] = {"crop_padding": 2, "hflip": 0.5, "random_erasing": 0.5}
BY_IMAGE: dict[str, Any] = {**BATCHED, "auto_augment": "rand-m5-mstd0.5-inc1", "random_resized_crop": 0.5}
RECIPES = [PLAIN, BATCHED, BY_IMAGE]
RECIPE_NAMES = ["plain", "batched", "by_image"]

any_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=RECIPE_NAMES)


def are_equal(first: list[Batch], second: list[Batch]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def first_of(batches: Iterator[Batch], number: int = 6) -> list[Batch]:
    return list(islice(batches, number))


def raw_dataset(pixels: np.ndarray) -> Dataset:
    """All pixels in one training split whose normalisation is the identity on 0..1; labels are the rows."""
    split = Split(PixelImages(channels_first(pixels)), np.arange(len(pixels)))
    channels = split.images[0].getbands()
    return Dataset(split, None, split, (0.0,) * len(channels), (1.0,) * len(channels), "")


@pytest.mark.parametrize(
    ("num_images", "batch_size", "expected"), [(64, 32, 2), (63, 32, 1), (32, 32, 1), (31, 32, 1), (1, 32, 1)]
)
def test_the_last_short_batch_is_dropped_unless_it_is_the_only_one(
    num_images: int, batch_size: int, expected: int
) -> None:
    dataset = raw_dataset(make_pixels(num_images))
    batches = list(train_batches(dataset, make_trial(batch_size=batch_size), 1))
    assert len(batches) == steps_per_epoch(num_images, batch_size) == expected
    assert {len(labels) for _, labels in batches} == {min(num_images, batch_size)}


@any_recipe
def test_batches_are_normalised_floats_with_integer_labels(recipe: dict[str, Any]) -> None:
    digits = load_data(DIGITS, 8)
    images, labels = next(train_batches(digits, make_trial(**recipe), 1))
    assert (images.shape, images.dtype, labels.shape, labels.dtype) == (
        (32, 1, 8, 8),
        torch.float32,
        (32,),
        torch.int64,
    )
    assert images.is_contiguous()


def test_normalised_digits_have_mean_0_and_deviation_1() -> None:
    images = torch.cat([images for images, _ in train_batches(load_data(DIGITS, 8), make_trial(), 1)])
    assert float(images.mean()) == pytest.approx(0, abs=0.01)
    assert float(images.std()) == pytest.approx(1, abs=0.01)


def test_an_epoch_shows_each_image_at_most_once_and_another_order_each_time() -> None:
    dataset = raw_dataset(make_pixels(70))
    orders = [torch.cat([labels for _, labels in train_batches(dataset, make_trial(), epoch)]) for epoch in (1, 2, 3)]
    assert all(len(set(order.tolist())) == len(order) == 64 for order in orders)
    assert not any(torch.equal(first, second) for first, second in pairwise(orders))


@any_recipe
def test_batches_depend_on_seed_and_epoch_but_on_no_model_and_no_optimizer(recipe: dict[str, Any]) -> None:
    digits = load_data(DIGITS, 8)
    reference = first_of(train_batches(digits, make_trial(**recipe), 2))
    deeper = make_trial(depth=5, lr=0.1, weight_decay=0.0, epochs=9, **recipe)
    assert are_equal(reference, first_of(train_batches(digits, deeper, 2)))
    assert not are_equal(reference, first_of(train_batches(digits, make_trial(seed=1, **recipe), 2)))
    assert not are_equal(reference, first_of(train_batches(digits, make_trial(**recipe), 3)))


def test_what_is_done_to_pixels_moves_no_image_to_another_batch() -> None:
    digits = load_data(DIGITS, 8)
    labels = [
        torch.cat([labels for _, labels in first_of(train_batches(digits, make_trial(**recipe), 1))])
        for recipe in RECIPES
    ]
    assert torch.equal(labels[0], labels[1])
    assert torch.equal(labels[0], labels[2])


@any_recipe
@pytest.mark.parametrize("start_step", [1, 7, 9])
def test_starting_later_gives_exactly_the_batches_that_were_left(recipe: dict[str, Any], start_step: int) -> None:
    digits, trial = load_data(DIGITS, 8), make_trial(batch_size=128, **recipe)
    whole = list(train_batches(digits, trial, 1))
    assert are_equal(whole[start_step:], list(train_batches(digits, trial, 1, start_step=start_step)))


@any_recipe
def test_global_generators_are_neither_read_nor_moved(recipe: dict[str, Any]) -> None:
    digits, trial = load_data(DIGITS, 8), make_trial(**recipe)
    seen = []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
        seen.append(first_of(train_batches(digits, trial, 1)))
        after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
        assert after == before
    assert are_equal(*seen)


def test_a_crop_is_a_window_of_the_image_in_a_black_frame_and_every_place_occurs() -> None:
    pixels = make_pixels(400, 6)
    images, rows = next(train_batches(raw_dataset(pixels), make_trial(img_size=6, batch_size=400, crop_padding=1), 1))
    framed = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = set()
    for image, row in zip((images * 255).round().permute(0, 2, 3, 1).numpy(), rows.tolist(), strict=True):
        fits = [
            (top, left)
            for top, left in product(range(3), range(3))
            if (framed[row, top : top + 6, left : left + 6] == image).all()
        ]
        assert len(fits) == 1
        places.add(fits[0])
    assert len(places) == 9


def test_a_flip_mirrors_left_and_right_of_the_given_share() -> None:
    pixels = make_pixels(1000, 4)
    images, rows = next(train_batches(raw_dataset(pixels), make_trial(img_size=4, batch_size=1000, hflip=0.25), 1))
    seen = (images * 255).round().permute(0, 2, 3, 1).numpy()
    is_flipped = [(image == pixels[row, :, ::-1]).all() for image, row in zip(seen, rows.tolist(), strict=True)]
    is_kept = [(image == pixels[row]).all() for image, row in zip(seen, rows.tolist(), strict=True)]
    assert all(flipped != kept for flipped, kept in zip(is_flipped, is_kept, strict=True))
    assert np.mean(is_flipped) == pytest.approx(0.25, abs=0.05)


def test_augmentation_leaves_the_images_in_memory_alone() -> None:
    digits = load_data(DIGITS, 8)
    assert isinstance(digits.train.images, PixelImages)
    before = digits.train.images.pixels_NCHW.copy()
    list(train_batches(digits, make_trial(**BATCHED), 1))
    assert (digits.train.images.pixels_NCHW == before).all()


def test_an_image_that_goes_through_pil_arrives_as_one_that_does_not() -> None:
    """The smallest jitter there is sends images through PIL and changes none of them by a whole step."""
    digits = load_data(DIGITS, 8)
    direct = first_of(train_batches(digits, make_trial(), 1))
    by_pil = first_of(train_batches(digits, make_trial(color_jitter=1e-9), 1))
    for (images, labels), (expected, expected_labels) in zip(by_pil, direct, strict=True):
        assert torch.equal(labels, expected_labels)
        assert torch.allclose(images, expected, atol=1.1 / 255 / digits.std[0])


@pytest.mark.parametrize("side", [8, 70])
def test_evaluation_shows_every_image_once_in_order_without_augmentation(side: int, tmp_path: Path) -> None:
    write_tree(tmp_path, {"train/cat": 4, "train/dog": 4, "val/cat": 3, "val/dog": 4}, side=side)
    config = folder_config(tmp_path)
    dataset, trial = load_data(config, side), make_trial(config, img_size=side, batch_size=3, **BY_IMAGE)
    batches = list(eval_batches(dataset.test, dataset, trial))
    assert [len(labels) for _, labels in batches] == [3, 3, 1]
    assert torch.cat([labels for _, labels in batches]).tolist() == dataset.test.labels.tolist()
    pixels = np.concatenate([make_pixels(3, side, seed=2), make_pixels(4, side, seed=3)])
    expected = (pixels / 255 - np.array(dataset.mean)) / np.array(dataset.std)
    images = torch.cat([images for images, _ in batches]).permute(0, 2, 3, 1).numpy()
    assert np.abs(images - expected).max() < 1e-5
