"""What Ray and Tune know of a worker that died."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.tuning.ray_environment import ray
from orchestrator.tuning.worker_deaths import Death

ONE_FAILURE = "Failure # "
"""Begins each error in the file that Tune keeps of a trial."""


def death_in(trial: Any) -> Death:
    """Why the worker of a Tune trial died the last time."""
    place = trial.error_file
    return Death.told("" if place is None else Path(place).read_text().rpartition(ONE_FAILURE)[2].partition("\n")[2])


def is_dead_actor(actor_id: str | None, process: int) -> bool:
    """Whether Ray says that the actor is dead and was this process."""
    found = {} if actor_id is None else ray._private.state.actors(actor_id)
    return found.get("State") == "DEAD" and found.get("Pid") == process
