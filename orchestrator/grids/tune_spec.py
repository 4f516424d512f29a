"""What `tune:` says, as values: ranges of nuisance axes, the budget of every cell, and how its proposals are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from orchestrator.grids.strict_yaml import YamlPath

SEARCH_SEEDS = range(10**12, 10**12 + 10_000)
"""Seeds that only search trials have: above every count and every date people write as a seed, and below 2^53, so that
any reader of JSON keeps them exactly. Every cell and every proposal has the first of them, so they share their draws.
"""

RANGE_KINDS = ("log_uniform", "uniform", "int_uniform")

DEFAULT_BATCH_SIZE = 4

EDGE_SHARE = 0.05
"""A chosen value is at the edge within this share of its range, measured in the logarithm where the axis is."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """One nuisance axis: a field, and the values it may be given."""

    name: str
    """Short name of a field of model, data or train."""
    kind: Literal["log_uniform", "uniform", "int_uniform", "choice"]
    values: tuple[Any, ...]
    """The two ends, both included; or the choices in the order of the file."""
    path: YamlPath = field(default=(), compare=False, repr=False)
    """Where the ends or the choices stand in the file."""

    @property
    def written(self) -> Any:
        """As a spec writes it."""
        return list(self.values) if self.kind == "choice" else {self.kind: list(self.values)}

    @property
    def middle(self) -> Any:
        """A value that stands for the range before one is chosen: its middle, or the first choice."""
        if self.kind == "choice":
            return self.values[0]
        low, high = self.values
        if self.kind == "log_uniform":
            return min(high, max(low, float(f"{math.sqrt(low * high):.4g}")))
        return (low + high) // 2 if self.kind == "int_uniform" else (low + high) / 2

    def position(self, value: Any) -> float | None:
        """How far `value` lies from the low end, 0..1, in the logarithm for log_uniform.

        Choices of numbers are ranked; other choices have no order, and no position.
        """
        if self.kind == "choice":
            return self._rank(value)
        low, high = (float(end) for end in self.values)
        if self.kind == "log_uniform":
            return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
        return (float(value) - low) / (high - low)

    def edge(self, value: Any) -> Literal["low", "high"] | None:
        """The end that `value` lies at, if it lies within `EDGE_SHARE` of one.

        Of choices the smallest and the largest number are ends, where there are three or more.
        """
        position = self.position(value)
        if position is None or (self.kind == "choice" and len(self.values) < 3):
            return None
        if position <= EDGE_SHARE:
            return "low"
        return "high" if position >= 1 - EDGE_SHARE else None

    def _rank(self, value: Any) -> float | None:
        if any(isinstance(choice, bool) or not isinstance(choice, int | float) for choice in self.values):
            return None
        return sorted(self.values).index(value) / (len(self.values) - 1)


@dataclass(frozen=True, kw_only=True)
class TuneSettings:
    """How each cell is searched; the same for every cell."""

    num_trials: Annotated[int, Ge(1), Le(10_000)] = 1
    """Proposals for every cell."""
    epochs: Annotated[int, Ge(1)] | None = None
    """Epochs of a search trial; absent means those of the cell."""
    sampler: Literal["quasi_random", "tpe"] = "quasi_random"
    """Where proposals come from: a scrambled Sobol sequence of the cell's own, or Optuna's TPE."""
    batch_size: Annotated[int, Ge(1), Le(10_000)] | None = None
    """Proposals that are made together, from the results of earlier batches; only for tpe or prune."""
    seeds: Annotated[int, Ge(1), Le(1_000)] = 1
    """Search trials for every proposal, each with a seed that no measured trial has."""
    prune: bool = False
    """Whether a search trial ends early that lies below the median of its cell's earlier batches at the same epoch."""

    @property
    def trials_a_batch(self) -> int:
        """Proposals of one batch; all of them where no batch reads an earlier one."""
        if self.sampler == "tpe" or self.prune:
            return self.batch_size or DEFAULT_BATCH_SIZE
        return self.num_trials

    @property
    def search_seeds(self) -> tuple[int, ...]:
        return tuple(SEARCH_SEEDS[: self.seeds])


@dataclass(frozen=True, kw_only=True)
class Tune(TuneSettings):
    """The `tune:` of a spec."""

    axes: tuple[Range, ...]
    """The nuisance axes in the order of the file."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(axis.name for axis in self.axes)

    @property
    def middles(self) -> Mapping[str, Any]:
        """A value for every nuisance axis, as long as none is chosen."""
        return {axis.name: axis.middle for axis in self.axes}
