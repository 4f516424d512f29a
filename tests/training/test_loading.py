from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.errors import DataError, TrainingError
from orchestrator.training import loading
from orchestrator.training.augment import eval_batches, train_batches
from orchestrator.training.data import Dataset, load_data
from orchestrator.training.images import FileImages
from orchestrator.training.loading import Batch
from orchestrator.trial import Trial
from tests.training.pictures import folder_config, make_trial, write_tree

pytestmark = pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning",  # Python 3.12 and 3.13
    "ignore:This DataLoader will create .* worker processes:UserWarning",
)

RECIPE: dict[str, Any] = {
    "batch_size": 4, "hflip": 0.5, "auto_augment": "rand-m5-mstd0.5-inc1", "random_resized_crop": 0.3,
    "color_jitter": 0.2, "random_erasing": 0.5,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_processes_left() -> Iterator[None]:
    yield
    loading._idle_loaders.clear()


@pytest.fixture
def photos(tmp_path: Path) -> tuple[Dataset, Trial]:
    """16 training images of 70 pixels, decoded from disk at each access."""
    root = tmp_path / "photos"
    write_tree(root, {"train/cat": 8, "train/dog": 8, "val/cat": 3, "val/dog": 3}, side=(70, 80))
    config = folder_config(root, val_fraction=0.0)
    return load_data(config, 32), make_trial(config, img_size=32, **RECIPE)


def are_equal(first: list[Batch], second: list[Batch]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


def test_the_number_of_processes_changes_nothing(photos: tuple[Dataset, Trial]) -> None:
    for epoch in (1, 2):
        here = list(train_batches(*photos, epoch))
        assert len(here) == 4
        for num_workers in (1, 2):
            assert are_equal(here, list(train_batches(*photos, epoch, num_workers=num_workers)))
    dataset, trial = photos
    there = list(eval_batches(dataset.test, dataset, trial, num_workers=2))
    assert are_equal(list(eval_batches(dataset.test, dataset, trial)), there)


def test_starting_later_in_processes_gives_the_batches_that_were_left(photos: tuple[Dataset, Trial]) -> None:
    whole = list(train_batches(*photos, 3))
    for start_step in (0, 1, 3, 4):
        assert are_equal(whole[start_step:], list(train_batches(*photos, 3, start_step=start_step, num_workers=2)))


def test_processes_outlive_an_epoch_and_an_epoch_that_was_left(photos: tuple[Dataset, Trial]) -> None:
    left = train_batches(*photos, 1, num_workers=1)
    next(left)
    left.close()  # type: ignore[attr-defined]
    (loader,) = loading._idle_loaders.values()
    processes = [worker.pid for worker in loader._iterator._workers]
    assert are_equal(list(train_batches(*photos, 2)), list(train_batches(*photos, 2, num_workers=1)))
    (loader,) = loading._idle_loaders.values()
    assert [worker.pid for worker in loader._iterator._workers] == processes


def test_two_epochs_read_at_once_do_not_mix(photos: tuple[Dataset, Trial]) -> None:
    pairs = list(zip(train_batches(*photos, 1, num_workers=1), train_batches(*photos, 2, num_workers=1), strict=True))
    assert are_equal([first for first, _ in pairs], list(train_batches(*photos, 1)))
    assert are_equal([second for _, second in pairs], list(train_batches(*photos, 2)))


def test_few_idle_processes_are_kept(photos: tuple[Dataset, Trial]) -> None:
    dataset, trial = photos
    for seed in range(4):
        list(train_batches(dataset, make_trial(trial.data, img_size=32, seed=seed, **RECIPE), 1, num_workers=1))
    assert len(loading._idle_loaders) == loading.NUM_IDLE_KEPT


def test_processes_leave_the_group_that_ctrl_c_reaches(photos: tuple[Dataset, Trial]) -> None:
    list(train_batches(*photos, 1, num_workers=1))
    (loader,) = loading._idle_loaders.values()
    assert all(os.getpgid(worker.pid) == worker.pid for worker in loader._iterator._workers)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_image_broken_meanwhile_is_named(num_workers: int, photos: tuple[Dataset, Trial]) -> None:
    images = photos[0].train.images
    assert isinstance(images, FileImages)
    broken = images.folder / images.paths[5]
    broken.write_bytes(broken.read_bytes()[:1000])
    with pytest.raises(DataError) as caught:
        list(train_batches(*photos, 1, num_workers=num_workers))
    assert str(caught.value).startswith(f"{broken} cannot be decoded (")
    assert str(caught.value).endswith("): replace it, or take it out of the dataset")


def test_global_generators_are_not_moved_by_processes(photos: tuple[Dataset, Trial]) -> None:
    before = torch.get_rng_state()
    list(train_batches(*photos, 1, num_workers=1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_policy_that_is_none_is_told_before_a_process_starts(num_workers: int, photos: tuple[Dataset, Trial]) -> None:
    trial = make_trial(photos[1].data, img_size=32, auto_augment="rnd-m9")
    with pytest.raises(TrainingError, match="auto_augment 'rnd-m9' is no policy that timm reads"):
        next(train_batches(photos[0], trial, 1, num_workers=num_workers))
    assert not loading._idle_loaders
