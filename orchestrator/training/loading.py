"""Rows of a split in; batches of images that went through PIL one by one, out: in this process, or in several.

The processes outlive an epoch, because starting them costs seconds: each job they get names its epoch and rows, and
nothing else changes. They draw from no random stream of their own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from orchestrator.configs import TrainConfig
from orchestrator.errors import DataError
from orchestrator.seeding import stream_seed
from orchestrator.training.images import PixelImages, Split
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.transforms import ImageFormat, eval_transform, train_transform

Batch = tuple[Tensor, Tensor]
"""Images, float32 [B, C, img_size, img_size], normalised; labels, int64 [B]."""

Job = tuple[int, list[int]]
"""An epoch, and the rows of one batch."""

NUM_IDLE_KEPT = 2
"""Groups of idle processes that are kept: one for training and one for evaluation."""


@dataclass(frozen=True)
class ImageReader:
    """What the batches of a split are made with."""

    split: Split
    target: ImageFormat
    recipe: TrainConfig | None
    """None in evaluation."""
    seed: int

    @cached_property
    def transform(self) -> Callable[[Image.Image], Tensor]:
        """What is done to one image.

        Raises:
            TrainingError: the recipe asks for a policy that timm does not know.
        """
        if self.recipe is None:
            return eval_transform(self.target, is_small=isinstance(self.split.images, PixelImages))
        return train_transform(self.recipe, self.target)

    def read(self, job: Job) -> Batch:
        """The batch; what is drawn for an image depends on seed, epoch and row alone.

        Raises:
            DataError: an image cannot be read; the message names it.
        """
        epoch, rows = job
        images = []
        for row in rows:
            image = self.split.images[row]
            with seeded_globals(stream_seed(self.seed, "augment", epoch, row)):
                images.append(self.transform(image))
        return torch.stack(images), torch.from_numpy(self.split.labels[rows])


def read_batches(
    reader: ImageReader, epoch: int, batches: Iterable[Tensor], num_workers: int, *, pins: bool = False
) -> Iterator[Batch]:
    """One batch for each tensor of rows, in order.

    Args:
        num_workers: processes that read ahead; 0 reads here.
        pins: whether what they read is put where a GPU can fetch it while it computes.

    Raises:
        DataError: an image cannot be read; the message names it.
    """
    jobs = [(epoch, rows.tolist()) for rows in batches]
    _ = reader.transform  # a recipe that cannot be read is told here, not in a worker
    if num_workers == 0:
        yield from map(reader.read, jobs)
        return
    key = (reader, num_workers, pins)
    loader = _idle_loaders.pop(key) if key in _idle_loaders else _start_loader(*key)
    loader.sampler.jobs = jobs
    try:
        for result in loader:
            if isinstance(result, str):
                raise DataError(result)
            yield result
    except (DataError, GeneratorExit):  # the processes are sound; after any other error they may be dead
        _keep(key, loader)
        del loader  # else the traceback keeps its processes alive, and a garbage collection waits 5 s for their end
        raise
    _keep(key, loader)


_idle_loaders: dict[tuple[ImageReader, int, bool], Any] = {}
"""Processes that wait for an epoch, the longest idle first."""


def _keep(key: tuple[ImageReader, int, bool], loader: Any) -> None:
    _idle_loaders[key] = loader
    while len(_idle_loaders) > NUM_IDLE_KEPT:
        del _idle_loaders[next(iter(_idle_loaders))]


class _Jobs(Sampler[Job]):
    """The jobs of the epoch that is read next."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


@dataclass(frozen=True)
class _Jobbing(Dataset[Any]):
    """What runs in a worker: a job in, its batch out, or the message of what went wrong.

    An exception would arrive with the worker's traceback in its message.
    """

    reader: ImageReader

    def __getitem__(self, job: Any) -> Batch | str:
        try:
            return self.reader.read(job)
        except DataError as error:
            return str(error)


def _start_loader(reader: ImageReader, num_workers: int, pins: bool) -> Any:
    return DataLoader(
        _Jobbing(reader),
        batch_size=None,
        sampler=_Jobs(),
        num_workers=num_workers,
        collate_fn=_as_it_is,
        worker_init_fn=_leave_process_group,
        persistent_workers=True,
        pin_memory=pins,
        generator=torch.Generator(),  # else each epoch would take a number from the global one
    )


def _as_it_is(result: Any) -> Any:
    return result


def _leave_process_group(_worker_id: int) -> None:
    """Ctrl-C reaches every process of a group, but a stop is for the training process to handle, which ends these."""
    os.setpgid(0, 0)
