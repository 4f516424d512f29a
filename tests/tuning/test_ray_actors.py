"""tuning/ray_actors.py, on fakes; real workers are in test_ray_tune.py and test_ray_tune_cluster.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from orchestrator.tuning.ray_actors import ActorClasses, ActorManager, install_actors
from orchestrator.tuning.ray_environment import ActorClassCache, RayActorManager, ray, tune_controller

LOW_ON_MEMORY = "1 worker(s) were killed due to the node running low on memory.\nOOM kill reason: usage"


def test_tune_is_told_of_the_memory_monitor_as_of_any_dead_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Exception] = []
    monkeypatch.setattr(RayActorManager, "_cleanup_actor", lambda *given, **named: None)
    manager = ActorManager.__new__(ActorManager)
    manager._failed_actor_ids = set()
    actor = SimpleNamespace(actor_id=1, _on_error=None)
    task = SimpleNamespace(_tracked_actor=actor, _on_error=lambda actor, error: heard.append(error))
    manager._actor_task_failed(task, ray.exceptions.OutOfMemoryError(LOW_ON_MEMORY))
    (error,) = heard
    assert isinstance(error, ray.exceptions.RayActorError)
    assert str(error) == LOW_ON_MEMORY
    with pytest.raises(RuntimeError, match="unexpected"):
        manager._actor_task_failed(task, ValueError("unheard of"))


@pytest.mark.parametrize(("is_here", "cache"), [(True, ActorClasses), (False, ActorClassCache)])
def test_tunes_next_experiment_takes_them(
    is_here: bool, cache: type[ActorClassCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_controller, "RayActorManager", RayActorManager)
    monkeypatch.setattr(tune_controller, "_ActorClassCache", ActorClassCache)
    install_actors(is_here=is_here)
    assert tune_controller.RayActorManager is ActorManager  # type: ignore[attr-defined]
    assert tune_controller._ActorClassCache is cache  # type: ignore[attr-defined]


def test_a_worker_of_this_machine_asks_for_no_environment_and_is_known_once() -> None:
    class Trainable:
        pass

    classes = ActorClasses()
    made = classes.get(Trainable)
    assert made is classes.get(Trainable)
    assert "runtime_env" not in made._default_options
    assert ActorClassCache().get(Trainable)._default_options["runtime_env"]["env_vars"]
