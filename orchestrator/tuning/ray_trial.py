"""One trial as Ray Tune sees it, and what it asks of a node.

A step is an epoch, and the last step is the end. Checkpoints, metrics and records are ours, so a worker that dies is
started again by Tune and goes on from our files. Settings travel once, through the object store; what travels with each
trial is the trial.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from typing import Any

from orchestrator.errors import DeviceLostError, OrchestratorError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import EpochMetrics
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings, TrialEnded, dataset_key
from orchestrator.tuning.ray_environment import ray, tune
from orchestrator.tuning.ray_train import driver_bundle, ended_by, run_on_workers

AttemptRunner = Callable[[Trial, RunSettings], Generator[EpochMetrics | None, None, TrialEnded]]


def placement_of(resources: Resources) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial of these resources: one bundle on one node, a driver's where Train has workers."""
    if resources.workers > 1:
        return tune.PlacementGroupFactory([driver_bundle(resources, ray.nodes())])
    return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": resources.gpus}])


def attempt_runner(resources: Resources) -> AttemptRunner:
    """What trains a trial of these resources inside its Tune trainable."""
    if resources.workers > 1:
        return run_on_workers
    from orchestrator.tuning.attempt import run_attempt

    return run_attempt


def trial_config(trial: Trial, settings: RunSettings) -> dict[str, Any]:
    """All that travels with one trial."""
    resources = dataclasses.asdict(settings.resources_of(trial))
    return {"trial_id": trial.trial_id, "trial": trial.canonical(), "resources": resources}


def placement_of_config(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    return placement_of(Resources(**config["resources"]))


class TuneTrial(tune.Trainable):
    """An attempt. Its process takes on the next trial of equal needs, as its start may take longer than a trial."""

    def setup(self, config: dict[str, Any], settings: RunSettings) -> None:  # type: ignore[override]
        self.settings = settings
        self.node = ray.get_runtime_context().get_node_id()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        content = new_config["trial"]
        trial = Trial.from_canonical(content)
        trial = Trial.from_canonical(content, root=self.settings.roots[dataset_key(trial)])
        self.trial_key = trial.trial_id
        self.attempt = attempt_runner(Resources(**new_config["resources"]))(trial, self.settings)
        return True

    def step(self) -> dict[str, Any]:
        try:
            metrics = next(self.attempt)
        except StopIteration as stop:
            return self._result(stop.value, is_done=True)
        except DeviceLostError:
            raise  # this process can use the GPU no more; Tune starts the trial again in another one
        except OrchestratorError as error:
            return self._result(ended_by(self.trial_key, error), is_done=True)
        return self._result(metrics, is_done=False)

    def _result(self, event: Any, *, is_done: bool) -> dict[str, Any]:
        return {"orch_id": self.trial_key, "orch_event": event, "orch_node": self.node, "done": is_done}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the trial's own checkpoints are in its folder."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `reset_config` goes on from the trial's folder."""

    def cleanup(self) -> None:
        attempt = getattr(self, "attempt", None)
        if attempt is not None:
            attempt.close()
