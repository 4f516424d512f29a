"""The size of a batch in; which of its images this process reads, and which it takes through which forward pass, out.

Every micro-batch is divided over the processes, so that a forward pass of all of them together sees the images that one
process would see. Mixing pairs an image with its mirror in the batch, so where images are mixed those are read too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.errors import TrainingError
from orchestrator.models.batch_share import BatchShare
from orchestrator.training.shards import Shards


@dataclass(frozen=True)
class Part:
    """What this process takes through one forward pass."""

    rows: slice | Tensor
    """Of the images it reads."""
    num_own: int
    """Images of this process."""
    num_images: int
    """Images of all processes: the micro-batch."""


@dataclass(frozen=True)
class BatchParts:
    """How every batch of a training is taken."""

    num_images: int
    """Images of a batch."""
    positions: Tensor | None
    """Which of them this process reads, ascending; None for all."""
    parts: Sequence[Part]


def batch_parts(
    num_images: int, micro_batch_size: int | None, shards: Shards, device: torch.device, *, is_mixed: bool
) -> BatchParts:
    """How this process takes batches of `num_images`.

    Args:
        device: where the images are by then; rows that lie elsewhere would make the host wait for a GPU.

    Raises:
        TrainingError: a micro-batch has fewer images than there are processes.
    """
    size = micro_batch_size or num_images
    starts = range(0, num_images, size)
    sizes = [min(size, num_images - start) for start in starts]
    if shards.is_alone:
        parts = [Part(slice(start, start + num), num, num) for start, num in zip(starts, sizes, strict=True)]
        return BatchParts(num_images, None, parts)
    if min(sizes) < shards.size:
        raise TrainingError(
            f"a forward pass of {min(sizes)} images cannot be shared by {shards.size} processes; "
            f"raise train.batch_size or micro_batch_size, or set resources.workers to {min(sizes)} at most"
        )
    share = BatchShare(shards.rank, shards.size)
    own = [torch.arange(num)[share.rows(num)] + start for start, num in zip(starts, sizes, strict=True)]
    read = torch.cat(own)
    if is_mixed:
        read = torch.cat([read, num_images - 1 - read]).unique()
    rows = [torch.searchsorted(read, positions).to(device) for positions in own]
    parts = [Part(part, len(part), num) for part, num in zip(rows, sizes, strict=True)]
    return BatchParts(num_images, read, parts)
