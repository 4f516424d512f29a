"""A split and a trial in; normalised float32 batches out, each a function of (seed, epoch, step) alone.

The order of an epoch is one stream. What is done to the pixels of a batch is another, one for each step, so a trial
that goes on at step k sees what it would have seen. Shape suffixes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from orchestrator.seeding import stream_seed
from orchestrator.training.data import Dataset, Split
from orchestrator.training.images import PixelImages
from orchestrator.trial import Trial

Batch = tuple[Tensor, Tensor]
"""Images, float32 [B, C, img_size, img_size], normalised; labels, int64 [B]."""


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Batches of an epoch: the last short one is dropped, unless it is the only one."""
    return max(1, num_images // batch_size)


def train_batches(
    dataset: Dataset, trial: Trial, epoch: int, *, start_step: int = 0, num_workers: int = 0
) -> Iterator[Batch]:
    """The training batches of `epoch` (from 1), from `start_step` (from 0) on.

    Args:
        num_workers: processes that decode images from disk; images in memory need none.

    Raises:
        DataError: an image cannot be read; the message names it.
    """
    images = dataset.train.images
    assert isinstance(images, PixelImages)
    labels = torch.from_numpy(dataset.train.labels)
    batch_size = trial.train.batch_size
    order = torch.randperm(len(labels), generator=_generator(trial.seed, "order", epoch))
    for step in range(start_step, steps_per_epoch(len(labels), batch_size)):
        rows = order[step * batch_size : (step + 1) * batch_size]
        generator = _generator(trial.seed, "augment", epoch, step)
        pixels_BCHW = images.pixels_NCHW[rows]
        pixels_BCHW = _random_crop(pixels_BCHW, trial.train.crop_padding, generator)
        pixels_BCHW = _random_flip(pixels_BCHW, trial.train.hflip, generator)
        yield _normalise(pixels_BCHW, dataset), labels[rows]


def eval_batches(split: Split, dataset: Dataset, trial: Trial, *, num_workers: int = 0) -> Iterator[Batch]:
    """Every image of `split` once, in order, without augmentation."""
    images = split.images
    assert isinstance(images, PixelImages)
    labels = torch.from_numpy(split.labels)
    for rows in torch.arange(len(split)).split(trial.train.batch_size):
        yield _normalise(images.pixels_NCHW[rows], dataset), labels[rows]


def _generator(seed: int, purpose: str, *keys: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(seed, purpose, *keys))


def _normalise(pixels_BCHW: Tensor, dataset: Dataset) -> Tensor:
    mean, std = (torch.tensor(values).mul(255)[:, None, None] for values in (dataset.mean, dataset.std))
    return (pixels_BCHW.float() - mean) / std


def _random_crop(pixels_BCHW: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad with black and cut each image out again at its own place, uniform over all places."""
    if padding == 0:
        return pixels_BCHW
    batch, _, height, width = pixels_BCHW.shape
    padded = torch.nn.functional.pad(pixels_BCHW, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, batch, 1), generator=generator)
    rows, columns = top + torch.arange(height), left + torch.arange(width)
    image_idx = torch.arange(batch)[:, None, None]
    cropped_BHWC = padded.permute(0, 2, 3, 1)[image_idx, rows[:, :, None], columns[:, None, :]]
    return cropped_BHWC.permute(0, 3, 1, 2)


def _random_flip(pixels_BCHW: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    if probability == 0:
        return pixels_BCHW
    is_flipped = torch.rand(len(pixels_BCHW), generator=generator) < probability
    return torch.where(is_flipped[:, None, None, None], pixels_BCHW.flip(3), pixels_BCHW)
