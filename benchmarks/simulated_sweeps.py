"""True accuracies in; sweeps of answers by seed and image out, with the noise of real runs and a truth that is known.

A model is right on an image where a normal score is positive:

    score = mu[cell] + image + image in cell + seed in cell + noise,

so the accuracy over the population of images, averaged over seeds, is Phi(mu / sqrt(1 + sum of variances)): exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from orchestrator.views.stats import Replicates, score_images


@dataclass(frozen=True)
class Noise:
    """What real runs look like; standard deviations on the scale of the score, on which the noise's own is 1."""

    name: str
    num_images: int
    image: float
    """Some images are hard for every model."""
    image_in_cell: float
    """Some are hard for this depth and attention."""
    seed: float
    """Some seeds turn out better."""


DIGITS = Noise("digits: 359 images", 359, image=1.6, image_in_cell=0.4, seed=0.12)
"""As the depth sweep of the demo: at 94 % components of 6e-5, 0.022 and 0.032; there 9e-5, 0.023 and 0.030."""

CIFAR = Noise("CIFAR size: 10,000 images", 10_000, image=1.5, image_in_cell=0.5, seed=0.015)
"""Little of the spread of runs is there on other images (Jordan, arXiv 2304.01910): 0.2 points at 75 %."""


def simulate(
    rng: np.random.Generator,
    truths: Sequence[float],
    num_seeds: int,
    noise: Noise,
    seed_noise: Sequence[float] | None = None,
) -> list[Replicates]:
    """The replicates of cells with these true accuracies, all on the same images.

    Args:
        seed_noise: of each cell, in place of `noise.seed`.
    """
    image = _normal(rng, noise.num_images) * np.float32(noise.image)
    noises = [replace(noise, seed=sd) for sd in seed_noise] if seed_noise is not None else [noise] * len(truths)
    return [
        _draw(rng, truth, range(num_seeds), image + _own(rng, noise), own)
        for truth, own in zip(truths, noises, strict=True)
    ]


def simulate_pairs(
    rng: np.random.Generator, truths: Sequence[tuple[float, float]], num_seeds: int, noise: Noise
) -> list[tuple[Replicates, Replicates]]:
    """The cells of two sweeps of one spec with disjoint seeds, on the same images; a truth for each side."""
    image = _normal(rng, noise.num_images) * np.float32(noise.image)
    pairs = []
    for truth_a, truth_b in truths:
        hard = image + _own(rng, noise)
        a = _draw(rng, truth_a, range(num_seeds), hard, noise)
        pairs.append((a, _draw(rng, truth_b, range(num_seeds, 2 * num_seeds), hard, noise)))
    return pairs


def simulate_sweeps(
    num_sweeps: int, truths: Sequence[float], num_seeds: int, noise: Noise, random_seed: int
) -> Iterator[list[Replicates]]:
    """Independent sweeps, each with a test set of its own."""
    for number in range(num_sweeps):
        yield simulate(np.random.default_rng((random_seed, number)), truths, num_seeds, noise)


def _own(rng: np.random.Generator, noise: Noise) -> NDArray[np.float32]:
    """How hard each image is for one cell alone."""
    return _normal(rng, noise.num_images) * np.float32(noise.image_in_cell)


def _draw(
    rng: np.random.Generator, truth: float, seeds: Sequence[int], hard: NDArray[np.float32], noise: Noise
) -> Replicates:
    scale = np.sqrt(1.0 + noise.image**2 + noise.image_in_cell**2 + noise.seed**2)
    score = _normal(rng, (len(seeds), noise.num_images)) + hard
    score += _normal(rng, (len(seeds), 1)) * np.float32(noise.seed) + np.float32(norm.ppf(truth) * scale)
    return score_images(score > 0.0, seeds=seeds)


def _normal(rng: np.random.Generator, size: int | tuple[int, int]) -> NDArray[np.float32]:
    return rng.standard_normal(size, dtype=np.float32)
