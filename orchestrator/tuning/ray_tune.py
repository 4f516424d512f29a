"""The parallel executor: Ray Tune on this machine or on a cluster.

A Tune experiment is disposable here: it is handed the trials that are missing, as one grid axis of ready-made
configurations, and forgotten at the end. Tune runs in a thread, which leaves signals to the caller, and the caller
waits for events only as long as Ray's processes are there.
"""

from __future__ import annotations

import queue
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.failure import FailureKind
from orchestrator.record import State
from orchestrator.trial import Trial
from orchestrator.tuning.events import Event, Notice, RunSettings, TrialEnded, TrialStarted, dataset_key
from orchestrator.tuning.packing import make_packs
from orchestrator.tuning.ray_actors import install_actors
from orchestrator.tuning.ray_cluster import connected
from orchestrator.tuning.ray_deaths import death_in, is_dead_actor
from orchestrator.tuning.ray_environment import ray, tune
from orchestrator.tuning.ray_fit import check_fits, num_places
from orchestrator.tuning.ray_nodes import Nodes, node_of_actor, watching
from orchestrator.tuning.ray_order import InOrder
from orchestrator.tuning.ray_preflight import Preflight
from orchestrator.tuning.ray_trial import PACK, TuneTrial, content_of, pack_text, placement_of_config
from orchestrator.tuning.ray_watch import Watch
from orchestrator.tuning.schedule import kept_in_time, times_of
from orchestrator.tuning.stop_file import is_stop_asked, stop_check
from orchestrator.tuning.worker_deaths import Death, end_lost, fail_lost

__all__ = ["connected", "execute"]

STARTS_WITHOUT_PROGRESS = 5
"""How often a trial is started again that finished no epoch since; an attempt decides sooner, from its files."""
TRIALS_AT_A_TIME = 2000
"""Trials or packs of one Tune experiment: what the driver holds in memory stays bounded."""
SECONDS_BETWEEN_LOOKS = 0.5

Events = queue.Queue[Event | Notice | BaseException | None]


class _Relay(tune.Callback):
    """Hands what Tune hears to our queue, and what it hears of a dead worker to the trial's files."""

    def __init__(self, events: Events, nodes: Nodes, settings: RunSettings) -> None:
        self.events = events
        self.nodes = nodes
        self.settings = settings
        self.actors: dict[str, str] = {}
        """Which actor trains what, by the id of its first trial."""
        self.ended: set[str] = set()
        """Trials that have ended, while others of their pack may go on."""
        self.kinds: dict[str, set[FailureKind]] = defaultdict(set)
        """Of the deaths since a worker last made progress, by the id of its first trial."""
        self.refused: set[str] = set()
        """First trials whose worker leaves a node that does not fit the run, which is no death."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks beside its own state, which nobody reads again; a queue cannot follow."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            self.actors[_ids(trial)[0]] = actor._actor_id.hex()
        for trial_id in self._not_ended(trial):
            self.events.put(TrialStarted(trial_id))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "orch_unfit" in result:
            self.refused.add(_ids(trial)[0])
            self.nodes.attempt_refused(result["orch_node"], result["orch_unfit"])
            return
        trial.run_metadata.num_failures = 0  # it makes progress, so a worker may die again without an end to it
        self.kinds.pop(_ids(trial)[0], None)
        for event in result.get("orch_events", ()):
            if isinstance(event, TrialEnded):
                self.ended.add(event.trial_id)
                if event.state is not State.FAIL:
                    self.nodes.attempt_succeeded(result["orch_node"])
            self.events.put(event)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        first = _ids(trial)[0]
        if first in self.refused:
            self.refused.discard(first)
        else:
            self._worker_died(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        death = self._worker_died(trial)
        is_one_kind = self.kinds.pop(_ids(trial)[0]) == {FailureKind.HOST_OUT_OF_MEMORY}
        kind = FailureKind.HOST_OUT_OF_MEMORY if is_one_kind else FailureKind.CRASH_LOOP
        for trial_id in self._not_ended(trial):
            message = (
                f"its worker died {STARTS_WITHOUT_PROGRESS + 1} times without finishing an epoch, at last so: "
                f"{death.error}; see `orch logs {trial_id}`, "
                "and Ray's own logs (by default in /tmp/ray/session_latest/logs) where it never began"
            )
            self.events.put(fail_lost(trial_id, self.settings, Death(kind, message)))

    def _not_ended(self, trial: Any) -> list[str]:
        return [trial_id for trial_id in _ids(trial) if trial_id not in self.ended]

    def _worker_died(self, trial: Any) -> Death:
        first = _ids(trial)[0]
        actor, death = self.actors.pop(first, None), death_in(trial)
        self.kinds[first].add(death.kind)
        for trial_id in self._not_ended(trial):
            end_lost(trial_id, self.settings, death, partial(is_dead_actor, actor))
        node = None if actor is None else node_of_actor(actor)
        if node is not None and death.kind is not FailureKind.HOST_OUT_OF_MEMORY:
            self.nodes.attempt_failed(node)
        return death


def _ids(trial: Any) -> list[str]:
    """Of the trials that one of Tune's is."""
    ids: list[str] = content_of(trial.config)["trial_ids"]
    return ids


class _StopFile(tune.Stopper):
    """Ends the experiment once the stop file is there."""

    def __getstate__(self) -> dict[str, Any]:
        """As for callbacks: Tune's own state is not read again."""
        return {}

    def __init__(self, settings: RunSettings) -> None:
        self.is_asked = stop_check(settings.stop_file, None)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.is_asked()


def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event | Notice]:
    """Train `trials`, or packs of them, in parallel as places become free: in order, as far as that costs no time.

    Raises:
        ClusterError: Ray does not start, the cluster does not answer or is lost, or no node can hold a trial.
    """
    with connected(settings) as connection:
        check_fits(trials, settings, ray.nodes())
        events: Events = queue.Queue()
        cpus = min((settings.resources_of(trial).cpus for trial in trials), default=1.0)
        nodes = Nodes(lambda text: events.put(Notice(text)), cpus=cpus)
        samples = list({dataset_key(trial): trial for trial in trials}.values())
        preflight = None
        if settings.address is not None:
            preflight = Preflight(settings, connection.looked_at, lambda: connection.watch.lost)
            preflight.check(samples, ray.nodes())
        with watching(nodes, preflight, samples):
            places = num_places(trials, settings, ray.nodes())
            ordered = kept_in_time(trials, times_of(trials, settings.expected), places)
            packs = make_packs(ordered, settings)
            yield from _run_chunks(packs, settings, _Relay(events, nodes, settings), connection.watch)


def _run_chunks(
    packs: Sequence[Sequence[Trial]], settings: RunSettings, relay: _Relay, watch: Watch
) -> Iterator[Event | Notice]:
    for start in range(0, len(packs), TRIALS_AT_A_TIME):
        if is_stop_asked(settings.stop_file):
            return
        with tempfile.TemporaryDirectory(prefix="orch-tune-", ignore_cleanup_errors=True) as scratch:
            yield from _run_tune(packs[start : start + TRIALS_AT_A_TIME], settings, scratch, relay, watch)


def _run_tune(
    packs: Sequence[Sequence[Trial]], settings: RunSettings, scratch: str, relay: _Relay, watch: Watch
) -> Iterator[Event | Notice]:
    events, tuner = relay.events, _build_tuner(packs, settings, scratch, relay)

    def fit() -> None:
        try:
            tuner.fit()
        except BaseException as error:
            events.put(error)
        finally:
            events.put(None)

    threading.Thread(target=fit, name="ray-tune", daemon=True).start()
    while True:
        try:
            event = events.get(timeout=SECONDS_BETWEEN_LOOKS)
        except queue.Empty:
            event = TimeoutError()
        if watch.lost is not None:
            raise ClusterError(f"{watch.lost}; everything saved stays, go on with: {settings.again}")
        if isinstance(event, TimeoutError):
            continue
        if event is None:
            return
        if isinstance(event, BaseException):
            raise ClusterError(
                f"Ray Tune stopped: {event}; everything saved stays, go on with: {settings.again}"
            ) from event
        yield event


def _build_tuner(packs: Sequence[Sequence[Trial]], settings: RunSettings, scratch: str, relay: _Relay) -> tune.Tuner:
    install_actors(is_here=settings.address is None)
    trainable = tune.with_parameters(TuneTrial, settings=settings)
    return tune.Tuner(
        tune.with_resources(trainable, placement_of_config),
        param_space={PACK: tune.grid_search([pack_text(pack, settings) for pack in packs])},
        tune_config=tune.TuneConfig(
            scheduler=InOrder(), reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=0,
            stop=_StopFile(settings),
            callbacks=[relay],
            failure_config=tune.FailureConfig(max_failures=STARTS_WITHOUT_PROGRESS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
