"""Images in memory and the rows of an epoch in; augmented, normalised batches out, made where the images lie.

In a CPU's memory each image is cut out as a block. On a GPU a batch is made by a few operations on whole tensors, which
wait for nothing. What is drawn for a step is drawn on the CPU and is the same for both, but for the noise that fills
erased rectangles: a GPU draws that itself.
Shape suffixes: S steps, N images of the split, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from orchestrator.configs import TrainConfig
from orchestrator.seeding import stream_seed
from orchestrator.training.data import Dataset, Split
from orchestrator.training.loading import Batch
from orchestrator.training.moving import pixels_of, to_device
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.transforms import random_erasing
from orchestrator.trial import Trial


@dataclass(frozen=True)
class Draws:
    """What is drawn for the images of one step; None where the recipe draws nothing."""

    places_2B: Tensor | None
    """Top and left of each image's window in its black frame."""
    is_flipped_B: Tensor | None


def draw(recipe: TrainConfig, num_images: int, generator: torch.Generator) -> Draws:
    """Windows uniform over all places, then flips."""
    places_2B = is_flipped_B = None
    if recipe.crop_padding:
        places_2B = torch.randint(0, 2 * recipe.crop_padding + 1, (2, num_images), generator=generator)
    if recipe.hflip:
        is_flipped_B = torch.rand(num_images, generator=generator) < recipe.hflip
    return Draws(places_2B, is_flipped_B)


def pixel_batches(
    dataset: Dataset, trial: Trial, epoch: int, start_step: int, batches: Sequence[Tensor]
) -> Iterator[Batch]:
    """The training batches of the rows `batches`, on the device of the images; `start_step` is that of the first."""
    make = cut_batches if pixels_of(dataset.train).device.type == "cpu" else gathered_batches
    return make(dataset, trial, epoch, start_step, batches)


def plain_batches(split: Split, dataset: Dataset, batches: Sequence[Tensor]) -> Iterator[Batch]:
    """Batches without augmentation, on the device of the images."""
    pixels_NCHW = pixels_of(split)
    mean, std = _constants(dataset, pixels_NCHW.device)
    for rows in batches:
        labels_B = to_device(_labels(split, rows), pixels_NCHW.device)
        yield _normalise(pixels_NCHW[to_device(rows, pixels_NCHW.device)], mean, std), labels_B


def cut_batches(
    dataset: Dataset, trial: Trial, epoch: int, start_step: int, batches: Sequence[Tensor]
) -> Iterator[Batch]:
    """`pixel_batches` in a CPU's memory."""
    recipe, pixels_NCHW = trial.train, pixels_of(dataset.train)
    mean, std = _constants(dataset, pixels_NCHW.device)
    for step, rows in enumerate(batches, start=start_step):
        draws = draw(recipe, len(rows), _generator(trial.seed, epoch, step))
        pixels_BCHW = pixels_NCHW[rows]
        if draws.places_2B is not None:
            pixels_BCHW = _cut(pixels_BCHW, recipe.crop_padding, draws.places_2B)
        if draws.is_flipped_B is not None:
            pixels_BCHW[draws.is_flipped_B] = pixels_BCHW[draws.is_flipped_B].flip(3)
        images_BCHW = _normalise(pixels_BCHW, mean, std)
        if recipe.random_erasing:
            with seeded_globals(stream_seed(trial.seed, "erase", epoch, step)):
                random_erasing(recipe)(images_BCHW)
        yield images_BCHW, _labels(dataset.train, rows)


def gathered_batches(
    dataset: Dataset, trial: Trial, epoch: int, start_step: int, batches: Sequence[Tensor]
) -> Iterator[Batch]:
    """`pixel_batches` on a GPU; equal to `cut_batches` outside erased rectangles, and those are equal too."""
    recipe, pixels_NCHW = trial.train, pixels_of(dataset.train)
    device = pixels_NCHW.device
    mean, std = _constants(dataset, device)
    rows_SB = to_device(torch.stack(list(batches)), device)
    labels_SB = to_device(torch.stack([_labels(dataset.train, rows) for rows in batches]), device)
    for step, (rows_B, labels_B) in enumerate(zip(rows_SB, labels_SB, strict=True), start=start_step):
        draws = draw(recipe, len(rows_B), _generator(trial.seed, epoch, step))
        images_BCHW = _normalise(gather(pixels_NCHW, rows_B, draws, recipe.crop_padding), mean, std)
        if recipe.random_erasing:
            seed = stream_seed(trial.seed, "erase", epoch, step)
            images_BCHW = _erase(images_BCHW, rectangles(recipe, images_BCHW.shape, seed), seed)
        yield images_BCHW, labels_B


def gather(pixels_NCHW: Tensor, rows_B: Tensor, draws: Draws, padding: int) -> Tensor:
    """The images of `rows_B` with their windows and flips, uint8 [B,C,H,W], by one indexing."""
    device = pixels_NCHW.device
    _, channels, height, width = pixels_NCHW.shape
    y_BH, x_BW = torch.arange(height, device=device)[None], torch.arange(width, device=device)[None]
    if draws.is_flipped_B is not None:
        x_BW = torch.where(to_device(draws.is_flipped_B, device)[:, None], width - 1 - x_BW, x_BW)
    if draws.places_2B is not None:
        top_B1, left_B1 = to_device(draws.places_2B - padding, device)[:, :, None]
        y_BH, x_BW = y_BH + top_B1, x_BW + left_B1
    channel = torch.arange(channels, device=device)[:, None, None]
    y, x = y_BH.clamp(0, height - 1)[:, None, :, None], x_BW.clamp(0, width - 1)[:, None, None, :]
    pixels_BCHW = pixels_NCHW[rows_B[:, None, None, None], channel, y, x]
    if draws.places_2B is None:
        return pixels_BCHW
    return pixels_BCHW * (_is_within(y_BH, 0, height)[:, None, :, None] & _is_within(x_BW, 0, width)[:, None, None, :])


def rectangles(recipe: TrainConfig, shape: Sequence[int], seed: int) -> Tensor:
    """Top, left, height and width [4,B] of what timm's RandomErasing would erase of images [B,C,H,W]; 0 for nothing.

    Draws as it does (arXiv 1708.04896): an area, then an aspect ratio, anew up to ten times where they do not fit.
    """
    erasing, rng = random_erasing(recipe), random.Random(seed)
    num_images, _, height, width = shape
    found_4B = np.zeros((4, num_images), dtype=np.int64)
    for image_idx in range(num_images):
        if rng.random() > erasing.probability:
            continue
        for _attempt in range(10):
            area = rng.uniform(erasing.min_area, erasing.max_area) * height * width
            aspect = math.exp(rng.uniform(*erasing.log_aspect_ratio))
            tall, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if tall < height and wide < width:
                found_4B[:, image_idx] = rng.randint(0, height - tall), rng.randint(0, width - wide), tall, wide
                break
    return torch.from_numpy(found_4B)


def _erase(images_BCHW: Tensor, rectangles_4B: Tensor, seed: int) -> Tensor:
    """Normal noise inside the rectangles, drawn on the device of the images."""
    device = images_BCHW.device
    top, left, tall, wide = to_device(rectangles_4B, device)[:, :, None]
    y_1H, x_1W = (torch.arange(size, device=device)[None] for size in images_BCHW.shape[2:])
    is_erased = _is_within(y_1H, top, top + tall)[:, None, :, None] & _is_within(x_1W, left, left + wide)[:, None, None]
    noise = torch.empty_like(images_BCHW).normal_(generator=torch.Generator(device).manual_seed(seed))
    return torch.where(is_erased, noise, images_BCHW)


def _is_within(places: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    return (places >= low) & (places < high)


def _cut(pixels_BCHW: Tensor, padding: int, places_2B: Tensor) -> Tensor:
    """Pad with black and cut each image out again at its own place."""
    padded = torch.nn.functional.pad(pixels_BCHW, (padding,) * 4).numpy()
    windows = sliding_window_view(padded, pixels_BCHW.shape[2:], axis=(2, 3))
    top, left = places_2B.numpy()
    # numpy copies a window as a block; torch would gather it pixel by pixel, at five times the cost
    return torch.from_numpy(windows[np.arange(len(padded)), :, top, left])


def _constants(dataset: Dataset, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, [C,1,1], pixels in 0..255."""
    mean, std = (torch.tensor(values).mul(255)[:, None, None].to(device) for values in (dataset.mean, dataset.std))
    return mean, std


def _normalise(pixels_BCHW: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return pixels_BCHW.to(torch.float32, memory_format=torch.contiguous_format).sub_(mean).div_(std)


def _labels(split: Split, rows: Tensor) -> Tensor:
    return torch.from_numpy(split.labels[rows.numpy()])


def _generator(seed: int, epoch: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed(seed, "augment", epoch, step))
