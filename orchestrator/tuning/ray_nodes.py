"""Failures by node in; nodes that spoil every attempt, or do not fit the run, out of its way.

A node on which two attempts lost their worker or their device, and none succeeded since, is closed while another node
shows that trials can succeed: actors pinned there take its CPUs as they become free. They end with the run. A single
node is only counted. Nodes that join later are looked at as those of the start were; an attempt that is refused on one,
because it was placed there before the look, closes it too.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import ClusterError, OrchestratorError
from orchestrator.trial import Trial
from orchestrator.tuning.ray_environment import ray
from orchestrator.tuning.ray_preflight import Preflight

FAILURES_OF_A_BAD_NODE = 2
SECONDS_BETWEEN_ROUNDS = 5.0
SECONDS_TO_END_ROUND = 60.0


class Occupant:
    """Holds resources by being there."""


@dataclass
class Nodes:
    """What this run knows of each node, by node id."""

    say: Callable[[str], None]
    """Tells the person."""
    failures: Counter[str] = field(default_factory=Counter)
    """Since the last success on the node."""
    succeeded: set[str] = field(default_factory=set)
    closed: dict[str, str] = field(default_factory=dict)
    """Why a node gets no more trials."""
    cpus: float = 1.0
    """What the smallest trial takes."""
    occupants: dict[str, list[Any]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Tune's thread and that of `watching` tell and close."""

    def attempt_failed(self, node_id: str) -> None:
        """An attempt lost its worker or its device there."""
        names = {node["NodeID"]: _name(node) for node in ray.nodes() if node["Alive"]}
        if node_id not in names:
            return  # the whole node is gone, which is no fault of its devices
        with self.lock:
            self.failures[node_id] += 1
            self._judge(node_id, names)

    def attempt_succeeded(self, node_id: str) -> None:
        with self.lock:
            self.failures[node_id] = 0
            self.succeeded.add(node_id)

    def attempt_refused(self, node_id: str, why: str) -> None:
        """An attempt found, before a round of `watching` did, that the node does not fit the run."""
        names = {node["NodeID"]: _name(node) for node in ray.nodes() if node["Alive"]}
        if node_id in names:
            self.close(node_id, names[node_id], why)
            self.occupy()

    def close(self, node_id: str, name: str, why: str) -> None:
        """Give the node no more trials."""
        with self.lock:
            if node_id not in self.closed:
                self.closed[node_id] = why
                self.say(f"node {name} gets no more trials: {why}")

    def _judge(self, node_id: str, names: Mapping[str, str]) -> None:
        others = self.succeeded & names.keys() - {node_id} - self.closed.keys()
        if self.failures[node_id] >= FAILURES_OF_A_BAD_NODE and others:
            why = f"{self.failures[node_id]} attempts failed there one after the other, and others succeed elsewhere"
            self.close(node_id, names[node_id], why)

    def occupy(self) -> None:
        """Wait in line for each place on closed nodes; one that is asked for when it is free is Tune's by then."""
        with self.lock:
            for node in ray.nodes():
                if node["Alive"] and node["NodeID"] in self.closed.keys() - self.occupants.keys():
                    self._occupy(node)

    def _occupy(self, node: Mapping[str, Any]) -> None:
        pinned = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
        occupant = ray.remote(Occupant).options(num_cpus=self.cpus, scheduling_strategy=pinned, max_restarts=-1)
        num_places = int(node["Resources"].get("CPU", 0) // self.cpus)
        self.occupants[node["NodeID"]] = [occupant.remote() for _ in range(num_places)]


@contextlib.contextmanager
def watching(nodes: Nodes, preflight: Preflight | None, trials: Sequence[Trial]) -> Any:
    """Look at new nodes and occupy closed ones, from a thread, for as long as the block runs.

    A round that goes on at the end is waited for: Ray ends the whole process when a thread asks it something after it
    was left. A cluster that is lost answers no more, so then nothing is waited for.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(SECONDS_BETWEEN_ROUNDS):
            with contextlib.suppress(ray.exceptions.RayError, OrchestratorError, OSError):  # the next round tries again
                if preflight is not None:
                    for node, problem in preflight.look_at_new(trials, ray.nodes()):
                        nodes.close(node["NodeID"], _name(node), problem)
                if nodes.closed:
                    nodes.occupy()

    thread = threading.Thread(target=run, name="ray-nodes", daemon=True)
    thread.start()
    try:
        yield
    except ClusterError:
        ended.set()
        raise
    finally:
        if not ended.is_set():
            ended.set()
            thread.join(SECONDS_TO_END_ROUND)


def node_of_actor(actor_id: str) -> str | None:
    """Where an actor runs or ran."""
    found = ray._private.state.actors(actor_id)
    return (found.get("Address") or {}).get("NodeID") or None


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
