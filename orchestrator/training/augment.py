"""A split and a trial in; normalised float32 batches on its device out, each a function of (seed, epoch, step) alone.

The order of an epoch is one stream. What is done to pixels is another: one for each step where a batch is worked on as
a whole (images in memory, padding, crops, flips and erasing), one for each image where it goes through PIL. So a trial
that goes on at step k sees what it would have seen, whatever the number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from orchestrator.seeding import stream_seed
from orchestrator.training.beats import beating
from orchestrator.training.data import Dataset, Split
from orchestrator.training.images import PixelImages
from orchestrator.training.loading import Batch, ImageReader, read_batches
from orchestrator.training.moving import moved_ahead, pixels_of, splits_on, to_device
from orchestrator.training.pixel_batches import pixel_batches, plain_batches
from orchestrator.training.transforms import ImageFormat
from orchestrator.trial import Trial

CPU = torch.device("cpu")


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Batches of an epoch: the last short one is dropped, unless it is the only one."""
    return max(1, num_images // batch_size)


@beating
def train_batches(
    dataset: Dataset,
    trial: Trial,
    epoch: int,
    *,
    start_step: int = 0,
    num_workers: int = 0,
    positions: Tensor | None = None,
    device: torch.device = CPU,
) -> Iterator[Batch]:
    """The training batches of `epoch` (from 1), from `start_step` (from 0) on.

    Each is (images, labels): float32 [B, C, img_size, img_size], normalised; int64 [B].

    Args:
        num_workers: processes that decode and augment; a batch that is worked on as a whole needs none.
        positions: which images of each batch are handed out; None for all.
        device: where the batches are wanted.

    Raises:
        DataError: an image cannot be read; the message names it.
        TrainingError: the recipe asks for a policy that timm does not know.
    """
    split, recipe = dataset.train, trial.train
    generator = torch.Generator().manual_seed(stream_seed(trial.seed, "order", epoch))
    order = torch.randperm(len(split), generator=generator)
    num_steps = steps_per_epoch(len(split), recipe.batch_size)
    rows = order[: num_steps * recipe.batch_size].split(recipe.batch_size)[start_step:]
    if _works_on_batches(split, trial):
        batches = pixel_batches(dataset, trial, epoch, start_step, rows)
        if positions is not None:
            there = to_device(positions, pixels_of(split).device)
            batches = ((images[there], labels[there]) for images, labels in batches)
        return moved_ahead(batches, device) if pixels_of(split).device.type == "cpu" else batches
    if positions is not None:
        rows = tuple(part[positions] for part in rows)
    reader = ImageReader(split, _format(dataset, trial), recipe, trial.seed)
    return moved_ahead(read_batches(reader, epoch, rows, num_workers, pins=device.type == "cuda"), device)


@beating
def eval_batches(
    split: Split,
    dataset: Dataset,
    trial: Trial,
    *,
    num_workers: int = 0,
    batch_size: int | None = None,
    every: tuple[int, int] = (0, 1),
    device: torch.device = CPU,
) -> Iterator[Batch]:
    """Every image of `split` once, in order, without augmentation; batches as `train_batches` gives them.

    Args:
        batch_size: images of a batch; those of the recipe where it is None.
        every: the first batch that is handed out and the step to the next one; all batches by default.
        device: where the batches are wanted.

    Raises:
        DataError: an image cannot be read; the message names it.
    """
    rows = torch.arange(len(split)).split(batch_size or trial.train.batch_size)[slice(every[0], None, every[1])]
    if _has_size(split, trial.model.img_size):
        batches = plain_batches(split, dataset, rows)
        return moved_ahead(batches, device) if pixels_of(split).device.type == "cpu" else batches
    reader = ImageReader(split, _format(dataset, trial), None, trial.seed)
    return moved_ahead(read_batches(reader, 0, rows, num_workers, pins=device.type == "cuda"), device)


def resident(dataset: Dataset, trial: Trial, device: torch.device) -> Dataset:
    """The dataset with those images on `device` of which batches are made there; the same one where they do not fit."""
    named = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    splits = {name: split for name, split in named.items() if split and _has_size(split, trial.model.img_size)}
    if not _works_on_batches(dataset.train, trial):
        splits.pop("train", None)
    return replace(dataset, **splits_on(splits, device))  # type: ignore[arg-type]


def _works_on_batches(split: Split, trial: Trial) -> bool:
    return _has_size(split, trial.model.img_size) and not trial.train.needs_pillow


def _has_size(split: Split, img_size: int) -> bool:
    return isinstance(split.images, PixelImages) and split.images.size == (img_size, img_size)


def _format(dataset: Dataset, trial: Trial) -> ImageFormat:
    return ImageFormat(trial.model.img_size, dataset.mean, dataset.std)
