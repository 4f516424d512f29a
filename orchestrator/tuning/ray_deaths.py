"""What Ray knows of a worker that died, and Tune kept from ending with it.

Ray 2.60 tells of an actor that its memory monitor ended by an error that Tune does not know, upon which the whole
experiment ends. It is handed to Tune as what it is, the death of an actor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.tuning.ray_environment import RayActorManager, ray, tune_controller
from orchestrator.tuning.worker_deaths import Death

ONE_FAILURE = "Failure # "
"""Begins each error in the file that Tune keeps of a trial."""


class ActorManager(RayActorManager):
    """Tune's own, which also knows the memory monitor."""

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, ray.exceptions.OutOfMemoryError):
            exception = ray.exceptions.RayActorError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


def install_actor_manager() -> None:
    """Let Tune's next experiments survive the memory monitor."""
    tune_controller.RayActorManager = ActorManager  # type: ignore[attr-defined]


def death_in(trial: Any) -> Death:
    """Why the worker of a Tune trial died the last time."""
    place = trial.error_file
    return Death.told("" if place is None else Path(place).read_text().rpartition(ONE_FAILURE)[2].partition("\n")[2])


def is_dead_actor(actor_id: str | None, process: int) -> bool:
    """Whether Ray says that the actor is dead and was this process."""
    found = {} if actor_id is None else ray._private.state.actors(actor_id)
    return found.get("State") == "DEAD" and found.get("Pid") == process
