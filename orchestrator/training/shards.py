"""Which of how many processes train a trial together, and all that they say to each other.

Every process builds the same model from the same streams and takes its share of each batch; gradients are summed, and
every process makes the same optimizer step. Only the first one writes, and only the first one is asked to stop.
Collectives go through torch.distributed's default group, which whoever starts the processes sets up with a timeout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from orchestrator.errors import TrainingError

T = TypeVar("T")

MAX_BUCKET = 2**23
"""Numbers that are summed in one collective; bounds the memory for copies of gradients."""


@dataclass(frozen=True)
class Shards:
    """This process among those that train one trial; alone, every method is a no-op."""

    rank: int = 0
    size: int = 1

    @property
    def is_alone(self) -> bool:
        return self.size == 1

    def of_first(self, value: T) -> T:
        """The first process's value, in every process; it is pickled between them."""
        if self.is_alone:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def decides(self, is_so: bool) -> bool:
        """The first process's yes or no, in every process."""
        if self.is_alone:
            return is_so
        word = torch.tensor([int(is_so)])
        dist.broadcast(word, src=0)
        return bool(word)

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, in every process."""
        if not self.is_alone:
            dist.all_reduce(value)
        return value

    def add_up_gradients(self, model: nn.Module) -> None:
        """Every gradient becomes its sum over all processes."""
        if self.is_alone:
            return
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        for bucket in _buckets(gradients):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            for gradient, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(total.view_as(gradient))

    def check_alike(self, model: nn.Module) -> None:
        """Look whether all processes still hold one model.

        Raises:
            TrainingError: they do not, so one of them computes something else; in every process alike.
        """
        if self.is_alone:
            return
        own = torch.stack([value.double().sum() for value in model.state_dict().values()]).cpu()
        lowest, highest = own.clone(), own.clone()
        dist.all_reduce(lowest, op=dist.ReduceOp.MIN)
        dist.all_reduce(highest, op=dist.ReduceOp.MAX)
        if not torch.equal(lowest, highest):
            names = [name for name, same in zip(model.state_dict(), lowest == highest, strict=True) if not same]
            raise TrainingError(
                f"the {self.size} processes of the trial no longer hold one model ({names[0]} and {len(names) - 1} "
                "others differ), so their devices or libraries do not compute alike; use equal machines, or "
                "resources.workers: 1"
            )


ALONE = Shards()


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one type in a row, up to `MAX_BUCKET` numbers or one gradient."""
    for _, group in groupby(gradients, key=lambda gradient: gradient.dtype):
        bucket: list[Tensor] = []
        for gradient in group:
            if bucket and sum(g.numel() for g in bucket) + gradient.numel() > MAX_BUCKET:
                yield bucket
                bucket = []
            bucket.append(gradient)
        yield bucket
