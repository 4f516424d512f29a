"""Two processes that train together: this one is the first, and a child that takes jobs from a pipe is the second."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from orchestrator.record import EpochMetrics
from orchestrator.training import loop
from orchestrator.training.loop import Outcome, Settings, train
from orchestrator.training.shards import Shards
from orchestrator.trial import Trial

TIMEOUT = timedelta(seconds=300)


def run(trial: Trial, **options: Any) -> tuple[list[EpochMetrics], Outcome]:
    """All epochs and the outcome."""
    rows, generator = [], train(trial, **options)
    while True:
        try:
            rows.append(next(generator))
        except StopIteration as stop:
            return rows, stop.value


def run_share(rank: int, trial: Trial, **options: Any) -> tuple[list[EpochMetrics], Outcome]:
    """`run` as one of two processes."""
    return run(trial, settings=Settings(shards=Shards(rank, 2)), **options)


@contextmanager
def in_double() -> Iterator[None]:
    """Models of float64, so that what is left of a difference is a mistake and not rounding."""
    built = loop.build_model

    def build(trial: Trial) -> nn.Module:
        model = built(trial).double()
        model.register_forward_pre_hook(_to_double)
        return model

    loop.build_model = build  # type: ignore[assignment]
    try:
        yield
    finally:
        loop.build_model = built


def _to_double(_: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (inputs[0].double(),)


def run_double(rank: int | None, trial: Trial) -> tuple[list[EpochMetrics], Outcome]:
    """`run` in float64, as one of two processes or alone."""
    with in_double():
        return run(trial) if rank is None else run_share(rank, trial)


@dataclass(frozen=True)
class Raised:
    """An exception, as it can be sent to another process."""

    kind: type[Exception]
    message: str


class Pair:
    """This process and a child in one group of torch.distributed."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.child = context.Process(target=_serve, args=(str(folder), theirs), daemon=True)
        self.child.start()
        _join(str(folder), 0)

    def both(self, job: Callable[..., Any], *arguments: Any, **only_first: Any) -> tuple[Any, Any]:
        """What `job(rank, *arguments)` returned, or what it raised, in each process."""
        self.pipe.send((job, arguments))
        first = _outcome(job, 0, *arguments, **only_first)
        assert self.pipe.poll(TIMEOUT.seconds), "the second process does not answer"
        return first, self.pipe.recv()

    def close(self) -> None:
        self.pipe.send(None)
        dist.destroy_process_group()
        self.child.join(20)
        self.child.kill()
        self.child.close()


def _join(folder: str, rank: int) -> None:
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=TIMEOUT)


def _serve(folder: str, pipe: Connection) -> None:
    _join(folder, 1)
    while (order := pipe.recv()) is not None:
        job, arguments = order
        pipe.send(_outcome(job, 1, *arguments))
    dist.destroy_process_group()


def _outcome(job: Callable[..., Any], rank: int, *arguments: Any, **options: Any) -> Any:
    try:
        return job(rank, *arguments, **options)
    except Exception as error:  # handed to the test, which knows what it expects
        return Raised(type(error), str(error))
