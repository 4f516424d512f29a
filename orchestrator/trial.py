"""A trial as a value: model, data, recipe and seed in; `trial_id`, a hash of what changes its numbers, out.

The hash covers the canonical JSON of every hashed field. A field that is None is absent from it, so a field added later
with the default None leaves every known `trial_id` as it is. Fields marked `hashed=False` say where things lie, not
what they are. `PROTOCOL` is raised whenever a change to `models/` or `training/` moves numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from orchestrator.configs import SECTIONS, DataConfig, ModelConfig, TrainConfig, canonical_json

PROTOCOL = 1


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run: configuration and seed."""

    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    seed: int
    protocol: int = PROTOCOL

    @cached_property
    def trial_id(self) -> str:
        """16 hex digits; equal for two trials exactly when every hashed field is."""
        return digest(
            f'{{"data":{self.data.hashed_text},"model":{self.model.hashed_text},"protocol":{self.protocol},'
            f'"seed":{self.seed},"train":{self.train.hashed_text}}}'
        )

    @cached_property
    def cell_id(self) -> str:
        """As `trial_id` without the seed: replicates of one cell share it."""
        content = self.canonical()
        del content["seed"]
        return digest(canonical_json(content))

    def tuned_cell_id(self, chosen: Collection[str]) -> str:
        """As `cell_id`, but of the fields `chosen` only the names count: the same before and after they are chosen."""
        content = self.canonical()
        del content["seed"]
        kept = {section: _without(content[section], chosen) for section in SECTIONS}
        return digest(canonical_json({**content, **kept, "tuned": sorted(chosen)}))

    def canonical(self) -> dict[str, Any]:
        """The hashed content as plain JSON values."""
        sections = {name: dict(getattr(self, name).hashed_fields) for name in SECTIONS}
        return {"protocol": self.protocol, "seed": self.seed, **sections}

    @classmethod
    def from_canonical(cls, content: Mapping[str, Any], *, root: str | None = None) -> Trial:
        """The trial that `canonical` described.

        Raises:
            TypeError, ValueError, KeyError: `content` is not what this version writes.
        """
        return cls(
            model=ModelConfig(**content["model"]),
            data=DataConfig(**content["data"], root=root),
            train=TrainConfig(**content["train"]),
            seed=int(content["seed"]),
            protocol=int(content["protocol"]),
        )

    @property
    def label(self) -> str:
        """A short name for people: `d12-reattention-w48-s0`."""
        attention = self.model.attention.rpartition(":")[2]
        return f"d{self.model.depth}-{attention}-w{self.model.embed_dim}-s{self.seed}"


@dataclass(frozen=True)
class Cell:
    """One value of every scientific axis; its seeds are replicates."""

    cell_id: str
    axes: Mapping[str, Any]
    """Axis name to value, in the order the spec declares them; an axis that does not apply is None."""
    trials: tuple[Trial, ...]

    def trial(self, seed: int) -> Trial:
        """The trial of this cell with `seed`, one of its own or another; the cell has at least one."""
        return replace(self.trials[0], seed=seed)


def _without(fields: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def digest(text: str) -> str:
    """16 hex digits of `canonical_json`, which is what a trial is named for."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
