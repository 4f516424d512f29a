from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import create_transform

from orchestrator.configs import TrainConfig
from orchestrator.errors import TrainingError
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.transforms import ImageFormat, eval_transform, fit_whole, train_transform
from tests.training.pictures import make_pixels

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
RGB = ImageFormat(32, MEAN, STD)
GREY = ImageFormat(8, (0.3,), (0.4,))


def recipe(**fields: Any) -> TrainConfig:
    return TrainConfig(epochs=1, batch_size=2, lr=1e-3, **fields)


def photo(height: int = 60, width: int = 90) -> Image.Image:
    return Image.fromarray(make_pixels(1, (height, width))[0])


def apply(transform: Any, image: Image.Image, seed: int = 0) -> torch.Tensor:
    with seeded_globals(seed):
        result: torch.Tensor = transform(image)
    return result


def test_evaluation_is_timm_s() -> None:
    ours = eval_transform(RGB, is_small=False)
    theirs = create_transform(32, interpolation="bicubic", mean=MEAN, std=STD, crop_pct=0.875)
    assert torch.equal(ours(photo()), theirs(photo()))


def test_an_image_that_has_the_size_is_only_normalised() -> None:
    image = photo(32, 32)
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255 - torch.tensor(MEAN)[:, None, None]
    for transform in (eval_transform(RGB, is_small=False), train_transform(recipe(), RGB)):
        assert torch.allclose(transform(image), expected / torch.tensor(STD)[:, None, None], atol=1e-6)


def test_small_images_lose_no_border_in_evaluation() -> None:
    image = Image.new("L", (16, 16), 255)
    image.paste(0, (1, 1, 15, 15))
    target = ImageFormat(32, (0.0,), (1.0,))
    assert eval_transform(target, is_small=True)(image)[0, 0].min() > 0.9
    assert eval_transform(target, is_small=False)(image)[0, 0].min() < 0.5


@pytest.mark.parametrize(("size", "expected"), [((60, 90), (32, 32)), ((20, 16), (32, 32)), ((32, 32), (32, 32))])
def test_fit_whole_gives_a_square(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_whole(photo(*size), 32).size == expected


def test_random_resized_crop_flip_policy_and_erasing_are_timm_s() -> None:
    ours = train_transform(
        recipe(random_resized_crop=0.08, hflip=0.5, auto_augment="rand-m5-mstd0.5-inc1", random_erasing=0.9), RGB
    )
    theirs = create_transform(
        32, is_training=True, interpolation="bicubic", mean=MEAN, std=STD,
        hflip=0.5, auto_augment="rand-m5-mstd0.5-inc1", re_prob=0.9, re_mode="pixel",
    )  # fmt: skip
    for seed in range(20):
        assert torch.equal(apply(ours, photo(), seed), apply(theirs, photo(), seed))


def test_color_jitter_is_timm_s() -> None:
    ours = train_transform(recipe(random_resized_crop=0.08, color_jitter=0.4), RGB)
    theirs = create_transform(
        32, is_training=True, interpolation="bicubic", mean=MEAN, std=STD, hflip=0.0, color_jitter=0.4
    )
    for seed in range(5):
        assert torch.equal(apply(ours, photo(), seed), apply(theirs, photo(), seed))


def test_color_jitter_is_done_beside_a_policy_too() -> None:
    alone, both = (train_transform(recipe(auto_augment="rand-m5", color_jitter=jitter), RGB) for jitter in (0.0, 0.9))
    assert not torch.equal(apply(alone, photo()), apply(both, photo()))


@pytest.mark.parametrize(
    "policy", ["rand-m9-mstd0.5-inc1", "rand-m10-n6-inc1", "original", "v0", "3a", "augmix-m5-w4-d2"]
)
@pytest.mark.parametrize("target", [RGB, GREY])
def test_every_policy_works_on_colour_and_grey(policy: str, target: ImageFormat) -> None:
    transform = train_transform(recipe(auto_augment=policy, color_jitter=0.4), target)
    image = photo(40, 40) if target is RGB else photo(40, 40).convert("L")
    outputs = [apply(transform, image, seed) for seed in range(40)]
    assert all(output.shape == (len(target.mean), target.img_size, target.img_size) for output in outputs)
    assert all(torch.isfinite(output).all() for output in outputs)
    assert torch.equal(outputs[7], apply(transform, image, 7))


def test_padding_is_black_and_never_wraps_around() -> None:
    white = Image.new("RGB", (32, 32), (255, 255, 255))
    left_black = Image.new("RGB", (32, 32))
    left_black.paste(white, (16, 0))
    transform = train_transform(recipe(crop_padding=8), ImageFormat(32, (0.0,) * 3, (1.0,) * 3))
    outputs = torch.stack([apply(transform, left_black, seed) for seed in range(50)])
    assert (outputs[..., 0] == 0).all()  # a wrapped image would bring the white right half in on the left
    assert set(outputs.flatten().tolist()) == {0, 1}


@pytest.mark.parametrize("policy", ["rnd-m9", "rand-q9", "original-x3"])
def test_an_unknown_policy_is_told(policy: str) -> None:
    with pytest.raises(TrainingError, match=f"^auto_augment '{policy}' is no policy that timm reads: say for example"):
        train_transform(recipe(auto_augment=policy), RGB)
