"""A recipe in; what is done to one PIL image before it joins a batch, out.

Transforms are timm's and torchvision's; they draw from the global generators, so they are called inside
`seeded_globals`. Interpolation is bicubic throughout. Shape suffixes: C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image, ImageOps
from timm.data import auto_augment
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation
from torchvision import transforms
from torchvision.transforms import functional

from orchestrator.configs import TrainConfig
from orchestrator.errors import TrainingError

CROP_PCT = 0.875
"""Share of the shorter side that the centre crop of a photograph keeps in evaluation (timm's default)."""

_BICUBIC = transforms.InterpolationMode.BICUBIC


@dataclass(frozen=True)
class ImageFormat:
    """What a model reads."""

    img_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Per channel, pixels in 0..1."""


def train_transform(recipe: TrainConfig, target: ImageFormat) -> Callable[[Image.Image], torch.Tensor]:
    """PIL image to float32 [C, img_size, img_size]: crop, flip, policy, jitter, normalisation, erasing, in this order.

    Unlike timm, which leaves out the colour jitter where there is a policy, everything the recipe asks for is done.

    Raises:
        TrainingError: `auto_augment` is no policy that timm reads.
    """
    steps: list[Any] = [_crop(recipe, target.img_size)]
    if recipe.crop_padding:
        steps.append(transforms.RandomCrop(target.img_size, padding=recipe.crop_padding))
    if recipe.hflip:
        steps.append(transforms.RandomHorizontalFlip(recipe.hflip))
    if recipe.auto_augment is not None:
        steps.append(_policy(recipe.auto_augment, target))
    if recipe.color_jitter:
        steps.append(transforms.ColorJitter(*(recipe.color_jitter,) * 3))
    steps += [transforms.ToTensor(), transforms.Normalize(target.mean, target.std)]
    if recipe.random_erasing:
        steps.append(random_erasing(recipe))
    composed: Callable[[Image.Image], torch.Tensor] = transforms.Compose(steps)
    return composed


def eval_transform(target: ImageFormat, *, is_small: bool) -> Callable[[Image.Image], torch.Tensor]:
    """PIL image to float32 [C, img_size, img_size], as timm evaluates: a resize and a centre crop.

    Args:
        is_small: the images are of one small size, where all of an image matters and nothing is cut off.
    """
    fit = _FitWhole(target.img_size) if is_small else _FitCentre(target.img_size)
    composed: Callable[[Image.Image], torch.Tensor] = transforms.Compose(
        [fit, transforms.ToTensor(), transforms.Normalize(target.mean, target.std)]
    )
    return composed


def random_erasing(recipe: TrainConfig) -> RandomErasing:
    """timm's, with noise for each pixel, in place, on one normalised image or on a batch (arXiv 1708.04896)."""
    return RandomErasing(recipe.random_erasing, mode="pixel", device="cpu")


def fit_whole(image: Image.Image, img_size: int) -> Image.Image:
    """The shorter side resized to `img_size`, the longer one cut to it around the centre."""
    return _fit(image, img_size, img_size)


def _fit(image: Image.Image, scale_size: int, img_size: int) -> Image.Image:
    if image.size == (img_size, img_size):
        return image
    resized = functional.resize(image, [scale_size], interpolation=_BICUBIC)
    fitted: Image.Image = functional.center_crop(resized, [img_size])
    return fitted


@dataclass(frozen=True)
class _FitWhole:
    img_size: int

    def __call__(self, image: Image.Image) -> Image.Image:
        return fit_whole(image, self.img_size)


@dataclass(frozen=True)
class _FitCentre:
    img_size: int

    def __call__(self, image: Image.Image) -> Image.Image:
        return _fit(image, math.floor(self.img_size / CROP_PCT), self.img_size)


def _crop(recipe: TrainConfig, img_size: int) -> Any:
    if recipe.random_resized_crop is None:
        return _FitWhole(img_size)
    scale = (recipe.random_resized_crop, 1.0)
    return RandomResizedCropAndInterpolation(img_size, scale=scale, interpolation="bicubic")


def _policy(text: str, target: ImageFormat) -> Any:
    """timm's RandAugment (`rand-...`), AugMix (`augmix-...`) or AutoAugment (`original`, `v0`, ...)."""
    build = {"rand": auto_augment.rand_augment_transform, "augmix": auto_augment.augment_and_mix_transform}
    fill = tuple(min(255, round(255 * value)) for value in target.mean)
    options = {
        "translate_const": int(target.img_size * 0.45),
        "img_mean": fill if len(fill) > 1 else fill[0],
        "interpolation": Image.Resampling.BICUBIC,
    }
    try:
        policy = build.get(text.partition("-")[0], auto_augment.auto_augment_transform)(text, options)
    except (AssertionError, KeyError, ValueError) as error:
        raise TrainingError(
            f"auto_augment {text!r} is no policy that timm reads: say for example rand-m9-mstd0.5-inc1 or original"
        ) from error
    for operation in _operations(policy):
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize
    return policy


def _operations(policy: Any) -> list[Any]:
    if isinstance(policy, auto_augment.AutoAugment):
        return [operation for sub_policy in policy.policy for operation in sub_policy]
    return list(policy.ops)


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """timm asks for 0 bits at its greatest magnitude: black, as Pillow gave it before it refused to."""
    if bits < 1:
        return Image.new(image.mode, image.size)
    return image if bits >= 8 else ImageOps.posterize(image, bits)
