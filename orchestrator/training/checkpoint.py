"""Everything a trial needs to go on bit for bit: weights, optimizer state and progress in, a verified folder out.

No random state is kept: every stream is keyed by (seed, purpose, epoch, step), so the place in the training is enough.
Tensors are safetensors and the rest is JSON; nothing on the load path is a pickle. The metric rows so far are part of a
checkpoint, so a row and the state that made it cannot come apart.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save
from safetensors.torch import load
from safetensors.torch import save as save_any
from torch import Tensor, nn

from orchestrator import durable
from orchestrator.errors import ResultsError
from orchestrator.record import EpochMetrics
from orchestrator.results import FINAL, WEIGHTS

NUM_KEPT = 2

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands."""

    epoch: int
    """Finished epochs."""
    step: int
    """Finished optimizer steps of the epoch that runs."""
    loss_sum: float
    """Training loss summed over the images of that epoch's finished steps."""
    num_images: int
    """Images in those steps."""
    epoch_time_s: float
    """Seconds already spent in that epoch."""
    train_time_s: float
    """Seconds spent in epochs, that one included."""
    wall_time_s: float
    """Seconds since the trial's first start, interruptions not counted."""
    code_fingerprint: str
    rows: tuple[EpochMetrics, ...] = ()
    """Metrics of the finished epochs."""

    @classmethod
    def at_start(cls, code_fingerprint: str) -> Progress:
        """Nothing is done yet."""
        return cls(
            epoch=0, step=0, loss_sum=0.0, num_images=0, epoch_time_s=0.0, train_time_s=0.0, wall_time_s=0.0,
            code_fingerprint=code_fingerprint,
        )  # fmt: skip

    def to_json(self) -> bytes:
        return json.dumps(dataclasses.asdict(self), allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Progress:
        fields = json.loads(content)
        return cls(**{**fields, "rows": tuple(EpochMetrics(**row) for row in fields["rows"])})


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint in memory."""

    name: str
    progress: Progress
    files: Mapping[str, bytes]

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None) -> None:
        """Load weights, optimizer state and, where one is kept, the moving average."""
        model.load_state_dict(load(self.files[WEIGHTS]))
        if average is not None:
            average.load_state_dict(load(self.files["average.safetensors"]))
        groups = json.loads(self.files["optimizer.json"])
        _restore_optimizer(optimizer, load(self.files["optimizer.safetensors"]), groups)


class CheckpointStore:
    """The checkpoints of one trial; the newest two that verify are kept."""

    def __init__(self, folder: Path, check: Callable[[], None] = lambda: None) -> None:
        """`check` is called before each write and raises where somebody else works on the trial now."""
        self.folder, self._check = folder, check

    def save(
        self,
        progress: Progress,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: nn.Module | None,
    ) -> None:
        """Commit a checkpoint, then remove all but the newest two.

        Raises:
            ResultsError: the folder cannot be written; older checkpoints are untouched.
        """
        tensors, groups = _flatten_optimizer(optimizer)
        files = {
            WEIGHTS: weights_bytes(model),
            "optimizer.safetensors": _safetensors(tensors),
            "optimizer.json": json.dumps(groups).encode(),
            "progress.json": progress.to_json(),
        }
        if average is not None:
            files["average.safetensors"] = weights_bytes(average)
        self._check()
        durable.commit_folder(self.folder / f"{progress.epoch}-{progress.step}", files)
        for path in self._newest_first()[NUM_KEPT:]:
            durable.remove_folder(path)

    def load_newest(self) -> Checkpoint | None:
        """The newest checkpoint that verifies; a damaged one is named in the log and stepped over."""
        for path in self._newest_first():
            try:
                files = durable.read_folder(path)
                return Checkpoint(path.name, Progress.from_json(files["progress.json"]), files)
            except (ResultsError, KeyError, TypeError, ValueError) as error:
                log.warning("checkpoint %s is stepped over: %s", path.name, error)
        return None

    def commit_final(self, weights: bytes) -> None:
        """Keep the final weights beside the other checkpoints."""
        self._check()
        durable.commit_folder(self.folder / FINAL, {WEIGHTS: weights})

    def keep_only_final(self) -> None:
        """Remove every checkpoint but the final weights, and what a crash left."""
        self._check()
        for path in self._newest_first():
            durable.remove_folder(path)
        durable.remove_leftovers(self.folder)

    def _newest_first(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        places = {path: _place(path.name) for path in self.folder.iterdir()}
        numbered = [(place, path) for path, place in places.items() if place is not None]
        return [path for _, path in sorted(numbered, reverse=True)]


def weights_bytes(model: nn.Module) -> bytes:
    """Parameters and buffers as a safetensors file; equal weights give equal bytes."""
    return _safetensors(model.state_dict())


def _safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """The tensors as a file; by NumPy, which is three times as fast for many small ones, where it has their types."""
    here = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    if any(value.dtype == torch.bfloat16 for value in here.values()):
        return save_any(here)
    return save({name: value.numpy() for name, value in here.items()})


def _place(name: str) -> tuple[int, int] | None:
    epoch, dash, step = name.partition("-")
    return (int(epoch), int(step)) if dash and epoch.isdecimal() and step.isdecimal() else None


def _flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """State tensors by "<parameter index>.<name>", and the numbers each parameter group carries."""
    state = optimizer.state_dict()
    tensors = {f"{index}.{name}": value for index, values in state["state"].items() for name, value in values.items()}
    groups = [_numbers(group) for group in state["param_groups"]]
    return tensors, groups


def _numbers(group: Mapping[str, Any]) -> dict[str, Any]:
    """What a parameter group counts and is set to; some optimizers keep their step count here, as a scalar tensor."""
    plain = {key: value.item() if isinstance(value, Tensor) else value for key, value in group.items()}
    return {key: value for key, value in plain.items() if isinstance(value, (bool, int, float))}


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    current = optimizer.state_dict()["param_groups"]
    merged = [{**group, **saved} for group, saved in zip(current, groups, strict=True)]
    optimizer.load_state_dict({"state": state, "param_groups": merged})
