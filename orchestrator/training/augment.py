"""A split and a trial in; normalised float32 batches out, each a function of (seed, epoch, step) alone.

The order of an epoch is one stream. What is done to pixels is another: one for each step where a batch is worked on as
a whole (images in memory, padding, crops, flips and erasing), one for each image where it goes through PIL. So a trial
that goes on at step k sees what it would have seen, whatever the number of processes.
Shape suffixes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from orchestrator.configs import TrainConfig
from orchestrator.seeding import stream_seed
from orchestrator.training.beats import beating
from orchestrator.training.data import Dataset, Split
from orchestrator.training.images import PixelImages
from orchestrator.training.loading import Batch, ImageReader, read_batches
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.transforms import ImageFormat, random_erasing
from orchestrator.trial import Trial


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
) -> Iterator[Batch]:
    """The training batches of `epoch` (from 1), from `start_step` (from 0) on.

    Each is (images, labels): float32 [B, C, img_size, img_size], normalised; int64 [B].

    Args:
        num_workers: processes that decode and augment; a batch that is worked on as a whole needs none.
        positions: which images of each batch are handed out; None for all.

    Raises:
        DataError: an image cannot be read; the message names it.
        TrainingError: the recipe asks for a policy that timm does not know.
    """
    split, recipe = dataset.train, trial.train
    order = torch.randperm(len(split), generator=_generator(trial.seed, "order", epoch))
    num_steps = steps_per_epoch(len(split), recipe.batch_size)
    rows = order[: num_steps * recipe.batch_size].split(recipe.batch_size)[start_step:]
    if _works_on_batches(split, trial):
        batches = _pixel_batches(dataset, trial, epoch, start_step, rows)
        return batches if positions is None else ((images[positions], labels[positions]) for images, labels in batches)
    if positions is not None:
        rows = tuple(part[positions] for part in rows)
    reader = ImageReader(split, _format(dataset, trial), recipe, trial.seed)
    return read_batches(reader, epoch, rows, num_workers)


@beating
def eval_batches(
    split: Split,
    dataset: Dataset,
    trial: Trial,
    *,
    num_workers: int = 0,
    batch_size: int | None = None,
    every: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Every image of `split` once, in order, without augmentation; batches as `train_batches` gives them.

    Args:
        batch_size: images of a batch; those of the recipe where it is None.
        every: the first batch that is handed out and the step to the next one; all batches by default.

    Raises:
        DataError: an image cannot be read; the message names it.
    """
    rows = torch.arange(len(split)).split(batch_size or trial.train.batch_size)[slice(every[0], None, every[1])]
    if _has_size(split, trial.model.img_size):
        return ((_normalise(_pixels(split, part), dataset), _labels(split, part)) for part in rows)
    return read_batches(ImageReader(split, _format(dataset, trial), None, trial.seed), 0, rows, num_workers)


def _works_on_batches(split: Split, trial: Trial) -> bool:
    recipe = trial.train
    needs_pil = recipe.random_resized_crop is not None or recipe.auto_augment is not None or recipe.color_jitter > 0
    return _has_size(split, trial.model.img_size) and not needs_pil


def _has_size(split: Split, img_size: int) -> bool:
    return isinstance(split.images, PixelImages) and split.images.size == (img_size, img_size)


def _pixel_batches(
    dataset: Dataset, trial: Trial, epoch: int, start_step: int, batches: tuple[Tensor, ...]
) -> Iterator[Batch]:
    recipe = trial.train
    for step, rows in enumerate(batches, start=start_step):
        generator = _generator(trial.seed, "augment", epoch, step)
        pixels_BCHW = _augmented(_pixels(dataset.train, rows), recipe, generator)
        images_BCHW = _normalise(pixels_BCHW, dataset)
        if recipe.random_erasing:
            with seeded_globals(stream_seed(trial.seed, "erase", epoch, step)):
                random_erasing(recipe)(images_BCHW)
        yield images_BCHW, _labels(dataset.train, rows)


def _augmented(pixels_BCHW: Tensor, recipe: TrainConfig, generator: torch.Generator) -> Tensor:
    if recipe.crop_padding:
        pixels_BCHW = _random_crop(pixels_BCHW, recipe.crop_padding, generator)
    if recipe.hflip:
        is_flipped = torch.rand(len(pixels_BCHW), generator=generator) < recipe.hflip
        pixels_BCHW[is_flipped] = pixels_BCHW[is_flipped].flip(3)
    return pixels_BCHW


def _random_crop(pixels_BCHW: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad with black and cut each image out again at its own place, uniform over all places."""
    padded = torch.nn.functional.pad(pixels_BCHW, (padding,) * 4).numpy()
    places = sliding_window_view(padded, pixels_BCHW.shape[2:], axis=(2, 3))
    top, left = torch.randint(0, 2 * padding + 1, (2, len(padded)), generator=generator).numpy()
    # numpy copies a window as a block; torch would gather it pixel by pixel, at five times the cost
    return torch.from_numpy(places[np.arange(len(padded)), :, top, left])


def _normalise(pixels_BCHW: Tensor, dataset: Dataset) -> Tensor:
    mean, std = (torch.tensor(values).mul(255)[:, None, None] for values in (dataset.mean, dataset.std))
    return pixels_BCHW.to(torch.float32, memory_format=torch.contiguous_format).sub_(mean).div_(std)


def _pixels(split: Split, rows: Tensor) -> Tensor:
    """A copy, free to be changed in place."""
    assert isinstance(split.images, PixelImages)
    return split.images.pixels_NCHW[rows]


def _labels(split: Split, rows: Tensor) -> Tensor:
    return torch.from_numpy(split.labels[rows.numpy()])


def _format(dataset: Dataset, trial: Trial) -> ImageFormat:
    return ImageFormat(trial.model.img_size, dataset.mean, dataset.std)


def _generator(seed: int, purpose: str, *keys: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(seed, purpose, *keys))
