"""Tensors on the host in; the same on the training device out, without waiting for a GPU.

A GPU copies from pinned memory while it computes. Datasets in memory move there once, where they fit, and the trials of
a process that train at one time share them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.training.images import PixelImages, Split
from orchestrator.training.loading import Batch

log = logging.getLogger(__name__)

SHARE_OF_FREE_MEMORY = 0.25
"""Of a GPU's free memory that the pixels of a dataset may take; the rest is for the training."""


@dataclass(frozen=True, eq=False)
class DeviceImages(PixelImages):
    """Images in memory whose pixels are on a device too."""

    moved_NCHW: Tensor
    """uint8."""

    def take(self, rows: NDArray[np.int64]) -> DeviceImages:
        """The images of `rows`, in that order, on the device too."""
        there = torch.from_numpy(rows).to(self.moved_NCHW.device)
        return DeviceImages(self.pixels_NCHW[rows], self.moved_NCHW[there])


_shared: WeakValueDictionary[tuple[int, torch.device], DeviceImages] = WeakValueDictionary()
"""What is on a device, as long as somebody trains with it."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on `device`; the host goes on before a GPU has it."""
    if device.type == "cpu" or tensor.device.type != "cpu":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


def moved_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on `device`; while one is computed with, the next one is copied to a GPU."""
    if device.type == "cpu":
        yield from batches
        return
    stream = torch.cuda.Stream(device)
    waiting: Batch | None = None
    for images, labels in batches:
        with torch.cuda.stream(stream):
            moved = to_device(images, device), to_device(labels, device)
        if waiting is not None:
            yield waiting
        current = torch.cuda.current_stream(device)
        current.wait_stream(stream)
        for tensor in moved:
            tensor.record_stream(current)
        waiting = moved
    if waiting is not None:
        yield waiting


def splits_on(splits: Mapping[str, Split], device: torch.device, free_bytes: int | None = None) -> dict[str, Split]:
    """Splits in memory, with their pixels on a GPU if they all fit there; on a CPU they stay as they are.

    Args:
        free_bytes: of the device; asked for where it is None.
    """
    if device.type == "cpu":
        return dict(splits)
    size = sum(pixels_of(split).nbytes for split in splits.values() if _key(split, device) not in _shared)
    free = torch.cuda.mem_get_info(device)[0] if free_bytes is None else free_bytes
    if size > SHARE_OF_FREE_MEMORY * free:
        log.warning(
            "images stay in the host's memory: their %d MiB are more than %.0f %% of the %d MiB that are free on %s",
            size // 2**20, 100 * SHARE_OF_FREE_MEMORY, free // 2**20, device,
        )  # fmt: skip
        return dict(splits)
    return {name: on_device(split, device) for name, split in splits.items()}


def on_device(split: Split, device: torch.device) -> Split:
    """A split in memory, its pixels moved where no other trial has moved them."""
    assert isinstance(split.images, PixelImages)
    key = _key(split, device)
    images = _shared.get(key)
    if images is None:
        images = _shared[key] = DeviceImages(split.images.pixels_NCHW, pixels_of(split).to(device))
    return replace(split, images=images)


def _key(split: Split, device: torch.device) -> tuple[int, torch.device]:
    """Moved images keep the host's pixels, whose identity is nobody else's meanwhile."""
    assert isinstance(split.images, PixelImages)
    return id(split.images.pixels_NCHW), device


def pixels_of(split: Split) -> Tensor:
    """All pixels of a split in memory, uint8 [N,C,H,W], where they are trained with; never copied."""
    if isinstance(split.images, DeviceImages):
        return split.images.moved_NCHW
    assert isinstance(split.images, PixelImages)
    return torch.from_numpy(split.images.pixels_NCHW)
