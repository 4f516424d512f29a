"""What Tune asks Ray for, changed in two places of Ray 2.60: how workers are made, and what is heard of their death.

Tune gives each worker an environment, and so a process of its own, while Ray's idle processes, one for each CPU, wait
and end unused. On this machine they all have the driver's environment anyway, so the idle ones are taken. And an actor
that Ray's memory monitor ended is told of by an error that Tune does not know, upon which the whole experiment ends; it
is handed to Tune as what it is, the death of an actor.
"""

from __future__ import annotations

from typing import Any

from orchestrator.tuning.ray_environment import ActorClassCache, RayActorManager, ray, tune_controller


class ActorClasses(ActorClassCache):
    """Tune's own, which asks for no environment."""

    def get(self, trainable_cls: Any) -> Any:
        if trainable_cls not in self._cache:
            self._cache[trainable_cls] = ray.remote(trainable_cls)
        return self._cache[trainable_cls]


class ActorManager(RayActorManager):
    """Tune's own, which also knows the memory monitor."""

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, ray.exceptions.OutOfMemoryError):
            exception = ray.exceptions.RayActorError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)


def install_actors(*, is_here: bool) -> None:
    """For Tune's next experiments.

    Args:
        is_here: whether all workers run on this machine, in a cluster of this run's own.
    """
    tune_controller.RayActorManager = ActorManager  # type: ignore[attr-defined]
    tune_controller._ActorClassCache = ActorClasses if is_here else ActorClassCache  # type: ignore[attr-defined]
