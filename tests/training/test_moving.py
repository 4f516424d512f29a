from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.training import moving
from orchestrator.training.augment import eval_batches, resident, train_batches
from orchestrator.training.data import load_data
from orchestrator.training.images import PixelImages, Split
from orchestrator.training.loop import Settings, train
from orchestrator.training.moving import moved_ahead, on_device, pixels_of, splits_on, to_device
from orchestrator.trial import Trial
from tests.training.pictures import DIGITS, make_trial

CPU, META = torch.device("cpu"), torch.device("meta")
"""The device `meta` is none of the CPU, and there everywhere: what moves to a GPU moves to it."""

NUM_BYTES = 1797 * 64


def all_splits() -> dict[str, Split]:
    data = load_data(DIGITS, 8)
    named = {"train": data.train, "val": data.val, "test": data.test}
    return {name: split for name, split in named.items() if split is not None}


def test_a_cpu_keeps_what_it_has() -> None:
    data = load_data(DIGITS, 8)
    tensor = torch.ones(3)
    assert to_device(tensor, CPU) is tensor
    moved = resident(data, make_trial(), CPU)
    assert pixels_of(moved.train).data_ptr() == pixels_of(data.train).data_ptr()
    batches = [(tensor, tensor)]
    assert list(moved_ahead(iter(batches), CPU)) == batches


def test_pixels_move_where_they_fit_and_labels_stay() -> None:
    splits = all_splits()
    moved = splits_on(splits, META, free_bytes=4 * NUM_BYTES)
    assert {pixels_of(split).device.type for split in moved.values()} == {"meta"}
    assert all((moved[name].labels == split.labels).all() for name, split in splits.items())


def test_trials_that_train_at_one_time_share_what_they_moved() -> None:
    splits = all_splits()
    first = splits_on(splits, META, free_bytes=4 * NUM_BYTES)
    second = splits_on(splits, META, free_bytes=0)
    other_labels = on_device(replace(splits["val"], labels=splits["val"].labels + 1), META)
    assert all(pixels_of(second[name]) is pixels_of(first[name]) for name in splits)
    assert pixels_of(other_labels) is pixels_of(first["val"])
    assert (other_labels.labels == first["val"].labels + 1).all()
    del first, second, other_labels
    assert {pixels_of(split).device.type for split in splits_on(splits, META, free_bytes=0).values()} == {"cpu"}


def test_a_part_of_what_was_moved_is_on_the_device_too() -> None:
    split = all_splits()["train"]
    part = on_device(split, META).take(np.array([5, 2]))
    assert pixels_of(part).device == META
    assert pixels_of(part).shape == (2, 1, 8, 8)
    assert isinstance(part.images, PixelImages)
    assert isinstance(split.images, PixelImages)
    assert (part.images.pixels_NCHW == split.images.pixels_NCHW[[5, 2]]).all()
    assert part.labels.tolist() == split.labels[[5, 2]].tolist()


def test_pixels_that_do_not_fit_stay_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    splits = all_splits()
    with caplog.at_level(logging.WARNING, logger=moving.__name__):
        kept = splits_on(splits, META, free_bytes=4 * NUM_BYTES - 1)
    assert {pixels_of(split).device.type for split in kept.values()} == {"cpu"}
    assert "images stay in the host's memory" in caplog.text


@pytest.mark.parametrize(
    ("recipe", "img_size", "moves"),
    [
        ({}, 8, {"train", "val", "test"}),
        ({"crop_padding": 1, "random_erasing": 0.5}, 8, {"train", "val", "test"}),
        ({"color_jitter": 0.2}, 8, {"val", "test"}),
        ({}, 4, set()),
    ],
)
def test_images_move_that_batches_are_made_of_there(
    recipe: dict[str, Any], img_size: int, moves: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (2**30, 2**30))
    data = resident(load_data(DIGITS, 8), make_trial(img_size=img_size, **recipe), META)
    named = {"train": data.train, "val": data.val, "test": data.test}
    found = {name for name, split in named.items() if split is not None and pixels_of(split).device.type == "meta"}
    assert found == moves & all_splits().keys()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("recipe", [{}, {"color_jitter": 0.2}], ids=["batched", "by_image"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_that_come_from_the_host_arrive_whole_and_in_order(recipe: dict[str, Any], num_workers: int) -> None:
    data, trial, device = load_data(DIGITS, 8), make_trial(**recipe), torch.device("cuda")
    expected = list(train_batches(data, trial, 1))
    found = list(train_batches(data, trial, 1, num_workers=num_workers, device=device))
    assert len(found) == len(expected)
    for (images, labels), (expected_images, expected_labels) in zip(found, expected, strict=True):
        assert images.is_cuda
        assert torch.equal(images.cpu(), expected_images)
        assert torch.equal(labels.cpu(), expected_labels)
    evaluated = list(eval_batches(data.test, data, trial, device=device))
    for (images, _), (expected_images, _) in zip(evaluated, eval_batches(data.test, data, trial), strict=True):
        assert torch.equal(images.cpu(), expected_images)


@pytest.mark.gpu
def test_a_dataset_on_a_gpu_gives_the_batches_of_the_host() -> None:
    data, trial, device = load_data(DIGITS, 8), make_trial(crop_padding=2, hflip=0.5), torch.device("cuda")
    moved = resident(data, trial, device)
    assert pixels_of(moved.train).is_cuda
    for (images, labels), (expected, expected_labels) in zip(
        train_batches(moved, trial, 1, device=device), train_batches(data, trial, 1), strict=True
    ):
        torch.testing.assert_close(images.cpu(), expected)
        assert torch.equal(labels.cpu(), expected_labels)


GPU_TOLERANCE = 0.02
"""Relative, of losses after two epochs: a GPU sums in another order."""


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("attention", ["self", "reattention"])
@pytest.mark.parametrize("is_compiled", [False, True], ids=["plain", "compiled"])
def test_a_gpu_trains_to_the_losses_of_a_cpu(attention: str, is_compiled: bool, tiny_trial: Trial) -> None:
    recipe = replace(tiny_trial.train, crop_padding=1, hflip=0.5)
    trial = replace(tiny_trial, model=replace(tiny_trial.model, attention=attention), train=recipe)
    expected = list(train(trial))
    found = list(train(trial, settings=Settings(device="cuda", compile=is_compiled)))
    for row, other in zip(found, expected, strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=GPU_TOLERANCE)
        assert row.val_loss == pytest.approx(other.val_loss, rel=GPU_TOLERANCE)
