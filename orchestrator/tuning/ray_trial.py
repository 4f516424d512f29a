"""One trial, or a pack of seeds, as Ray Tune sees it, and what it asks of a node.

A step is an epoch of one trial, or its end, or the word that this node does not fit the run. Checkpoints, metrics and
records are ours, so a worker that dies is started again by Tune and goes on from our files. Settings travel once,
through the object store; what travels with each trial is the trial.
"""

from __future__ import annotations

import atexit
import dataclasses
import gc
import json
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from typing import Any

from orchestrator.errors import ClusterError, DeviceLostError, OrchestratorError, UnfitNodeError
from orchestrator.grids.sweep_spec import Resources
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, Event, RunSettings, TrialEnded, TrialStarted, dataset_key
from orchestrator.tuning.ray_environment import ray, tune
from orchestrator.tuning.ray_train import driver_bundle, ended_by, run_on_workers

PACK = "pack"
"""The one key of a configuration."""
SECONDS_TO_CLOSE = 2.0
"""For the driver to have others wait in line for the place on a node that does not fit, before it is free."""


def placement_of(resources: Resources) -> tune.PlacementGroupFactory:
    """What Tune reserves for a trial of these resources: one bundle on one node, a driver's where Train has workers."""
    if resources.workers > 1:
        return tune.PlacementGroupFactory([driver_bundle(resources, ray.nodes())])
    return tune.PlacementGroupFactory([{"CPU": resources.cpus, "GPU": resources.gpus}])


def train_events(trials: Sequence[Trial], settings: RunSettings) -> Generator[Event, None, None]:
    """What happens to the trials of one Tune trainable: a pack, or one trial that may have several workers."""
    if settings.resources_of(trials[0]).workers == 1:
        from orchestrator.tuning.packed import run_pack

        yield from run_pack(trials, settings)
        return
    (trial,) = trials
    with closing(run_on_workers(trial, settings)) as run:
        while True:
            try:
                yield EpochFinished(trial.trial_id, next(run))
            except StopIteration as stop:
                yield stop.value
                return


def pack_text(pack: Sequence[Trial], settings: RunSettings) -> str:
    """All that travels with trials that one process trains together.

    It is a text because Tune copies what all trials of an experiment are made of for each of them, and takes it apart:
    minutes for 2,000 trials of nested values.
    """
    resources = dataclasses.asdict(settings.resources_of(pack[0]))
    ids = [trial.trial_id for trial in pack]
    return json.dumps({"trial_ids": ids, "trials": [trial.canonical() for trial in pack], "resources": resources})


def content_of(config: Mapping[str, str]) -> dict[str, Any]:
    """What `pack_text` was made of, from a configuration as Tune has it."""
    content: dict[str, Any] = json.loads(config[PACK])
    return content


def placement_of_config(config: Mapping[str, str]) -> tune.PlacementGroupFactory:
    return placement_of(Resources(**content_of(config)["resources"]))


class TuneTrial(tune.Trainable):
    """Attempts. Its process takes on the next trial of equal needs, as its start may take longer than a trial."""

    def setup(self, config: dict[str, Any], settings: RunSettings) -> None:  # type: ignore[override]
        atexit.register(gc.freeze)  # Python's end would look for circles among all of torch's objects, for a second
        self.settings = settings
        self.node = ray.get_runtime_context().get_node_id()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.cleanup()
        trials = [self._trial(content) for content in content_of(new_config)["trials"]]
        self.not_ended = {trial.trial_id for trial in trials}
        self.events = train_events(trials, self.settings)
        self.unfit: UnfitNodeError | None = None
        return True

    def step(self) -> dict[str, Any]:
        if self.unfit is not None:
            time.sleep(SECONDS_TO_CLOSE)
            raise ClusterError(str(self.unfit))  # Tune starts the trial again, on another node
        try:
            events = [next(event for event in self.events if not isinstance(event, TrialStarted))]
        except DeviceLostError:
            raise  # this process can use the GPU no more; Tune starts the trial again in another one
        except UnfitNodeError as error:
            self.unfit = error
            return {"orch_unfit": error.why, "orch_node": self.node, "done": False}
        except OrchestratorError as error:
            events = [ended_by(trial_id, error) for trial_id in sorted(self.not_ended)]
        self.not_ended -= {event.trial_id for event in events if isinstance(event, TrialEnded)}
        return {"orch_events": events, "orch_node": self.node, "done": not self.not_ended}

    def _trial(self, content: dict[str, Any]) -> Trial:
        trial = Trial.from_canonical(content)
        return Trial.from_canonical(content, root=self.settings.roots[dataset_key(trial)])

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the trial's own checkpoints are in its folder."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `reset_config` goes on from the trial's folder."""

    def cleanup(self) -> None:
        events = getattr(self, "events", None)
        if events is not None:
            events.close()
