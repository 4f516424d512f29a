"""A data configuration in; the train, val and test splits, their normalisation and their fingerprint, out.

The official test part of a dataset (or a tree named val or test) is the test split. Validation is a fixed stratified
share of train. Both are the same for every trial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.errors import DataError
from orchestrator.training.images import Images, PixelImages
from orchestrator.training.split import stratified_share
from orchestrator.trial import DataConfig


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, row by row."""

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The split of `rows`, in that order."""
        return Split(self.images.take(rows), self.labels[rows])


@dataclass(frozen=True, eq=False)
class Dataset:
    """The splits of a dataset and what is known of its pixels."""

    train: Split
    val: Split | None
    """None where `val_fraction` is 0."""
    test: Split
    mean: tuple[float, ...]
    """Per channel, pixels in 0..1."""
    std: tuple[float, ...]
    fingerprint: str
    """Hex digits that change with the content."""


def load_data(config: DataConfig, img_size: int) -> Dataset:
    """The dataset that `config` names; the same object for the same configuration in one process.

    Raises:
        DataError: the dataset is missing or broken; the message names the file and what to do.
    """
    key = (config, config.root)
    if key not in _LOADED:
        _LOADED[key] = LOADERS[config.name](config)
    return _LOADED[key]


_LOADED: dict[tuple[DataConfig, str | None], Dataset] = {}


def prepare_data(config: DataConfig) -> str:
    """Make sure that the dataset is there and sound, before any trial starts; its fingerprint."""
    return load_data(config, 0).fingerprint


def _load_digits(config: DataConfig) -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    fingerprint = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()[:16]
    everything = Split(PixelImages(torch.from_numpy(pixels)[:, None]), labels)
    if config.test_fraction is None:
        raise DataError("digits have no official test part: data.test_fraction must say the share of it")
    share = stratified_share(labels, config.test_fraction, "test")
    train, val = _hold_out(everything.take(share.kept), config.val_fraction)
    return Dataset(train, val, everything.take(share.held_out), DIGITS_MEAN, DIGITS_STD, fingerprint)


DIGITS_MEAN, DIGITS_STD = (0.3054,), (0.3762,)


def _hold_out(split: Split, fraction: float) -> tuple[Split, Split | None]:
    if fraction == 0:
        return split, None
    share = stratified_share(split.labels, fraction, "val")
    return split.take(share.kept), split.take(share.held_out)


LOADERS: Mapping[str, Callable[[DataConfig], Dataset]] = {"digits": _load_digits}
