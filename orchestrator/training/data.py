"""A data configuration in; the train, val and test splits, their normalisation and their fingerprint, out.

The official test part of a dataset (or a tree named val or test) is the test split; a dataset without one gives up a
fixed stratified share. Validation is a fixed stratified share of train. All are the same for every trial.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from orchestrator.catalog import DATASETS, SMALL_SIDE
from orchestrator.configs import DataConfig
from orchestrator.errors import DataError
from orchestrator.training.images import PixelImages, Split, channels_first
from orchestrator.training.sources import LOADERS, Source, fetch_cifar
from orchestrator.training.split import stratified_share

__all__ = ["LOADERS", "Dataset", "Split", "load_data", "prepare_data"]

NUM_CHECKED = 256
"""Images of each split that `prepare_data` decodes where decoding all would take long."""


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
    """16 hex digits that change with the content."""


def load_data(config: DataConfig, img_size: int) -> Dataset:
    """The dataset that `config` names; the same object for the same arguments in one process. Fetches nothing.

    Small images in memory are resized to `img_size` once where that leaves them small.

    Raises:
        DataError: the dataset is missing or broken; the message names the file and what to do.
    """
    return _load(config, config.root, img_size)


def prepare_data(config: DataConfig) -> str:
    """Find or fetch the dataset and check that it is sound, before any trial starts; returns its fingerprint.

    Every file must be there, every label known, and every split filled. Images in memory have all been decoded; of
    others, 256 of each split, spread evenly, are.

    Raises:
        DataError: the dataset is missing or broken; the message names the file and what to do.
    """
    _load.cache_clear()
    if DATASETS[config.name].is_fetched:
        fetch_cifar(config)
    data = _assemble(_read(config), config)
    for split in (data.train, data.val, data.test):
        if split is not None and not isinstance(split.images, PixelImages):
            for row in np.linspace(0, len(split) - 1, min(len(split), NUM_CHECKED)).astype(int):
                split.images[int(row)]
    return data.fingerprint


@lru_cache(maxsize=2)
def _load(config: DataConfig, root: str | None, img_size: int) -> Dataset:
    """`root` is an argument because configurations compare without it."""
    return _assemble(_read(config), config, img_size)


def _read(config: DataConfig) -> Source:
    """What the loader finds, checked against the configuration."""
    source = LOADERS[config.name](config)
    found = np.unique(source.train.labels)
    wrong_number = DataError(
        f"{source.name} has {len(found)} classes with training images, but data.num_classes is {config.num_classes}"
    )
    if len(found) != config.num_classes and found.tolist() == list(range(len(found))):
        raise wrong_number
    for part, split in (("train", source.train), ("test", source.test)):
        if split is not None:
            _check_labels(split, f"{source.name}: {part}", config.num_classes)
    if len(found) != config.num_classes:
        raise wrong_number
    return source


def _check_labels(split: Split, part: str, num_classes: int) -> None:
    is_legal = (split.labels >= 0) & (split.labels < num_classes)
    if not is_legal.all():
        row = int(np.argmin(is_legal))
        raise DataError(
            f"{part} {split.images.name_of(row)} has label {split.labels[row]}, outside 0..{num_classes - 1} "
            f"(data.num_classes is {num_classes})"
        )


def _assemble(source: Source, config: DataConfig, img_size: int | None = None) -> Dataset:
    train, test = source.train, source.test
    if test is None:
        if config.test_fraction is None:
            raise DataError(f"{source.name} has no official test part: data.test_fraction must say the share of it")
        train, test = _hold_out(train, config.test_fraction, "test", source.name)
    val = None
    if config.val_fraction > 0:
        train, val = _hold_out(train, config.val_fraction, "val", source.name)
    if img_size is not None:
        train, test = _resized(train, img_size), _resized(test, img_size)
        val = _resized(val, img_size) if val is not None else None
    mean, std = source.statistics
    return Dataset(train, val, test, mean, std, source.fingerprint)


def _hold_out(split: Split, fraction: float, purpose: str, name: str) -> tuple[Split, Split]:
    share = stratified_share(split.labels, fraction, purpose, name)
    return split.take(share.kept), split.take(share.held_out)


def _resized(split: Split, img_size: int) -> Split:
    images = split.images
    if not isinstance(images, PixelImages) or img_size > SMALL_SIDE or images.size == (img_size, img_size):
        return split
    from orchestrator.training.transforms import fit_whole

    pixels = np.stack([np.asarray(fit_whole(images[row], img_size)) for row in range(len(images))])
    return Split(PixelImages(channels_first(pixels)), split.labels)
