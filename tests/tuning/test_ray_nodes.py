"""ray_nodes.py: which nodes get no more trials; that they get none is tested in test_ray_tune_cluster.py."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import ClusterError
from orchestrator.tuning import ray_nodes
from orchestrator.tuning.ray_nodes import Nodes, watching


def node(name: str, *, alive: bool = True) -> dict[str, Any]:
    return {"NodeID": name, "NodeManagerHostname": name, "NodeManagerAddress": "10.0.0.1", "Alive": alive}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What is known of three nodes, of which one is gone, and what the person hears."""
    found = SimpleNamespace(texts=[])
    monkeypatch.setattr(ray_nodes.ray, "nodes", lambda: [node("a"), node("b"), node("gone", alive=False)])
    found.nodes = Nodes(found.texts.append)
    return found


def test_a_node_that_fails_two_attempts_is_closed_once_another_succeeds(told: SimpleNamespace) -> None:
    told.nodes.attempt_failed("a")
    told.nodes.attempt_failed("a")
    assert told.texts == []  # nothing shows yet that trials can succeed at all
    told.nodes.attempt_succeeded("b")
    told.nodes.attempt_failed("a")
    why = "3 attempts failed there one after the other, and others succeed elsewhere"
    assert told.texts == [f"node a (10.0.0.1) gets no more trials: {why}"]


def test_a_success_in_between_clears_a_node(told: SimpleNamespace) -> None:
    told.nodes.attempt_succeeded("b")
    for _ in range(3):
        told.nodes.attempt_failed("a")
        told.nodes.attempt_succeeded("a")
    assert told.texts == []


def test_a_single_node_and_a_lost_node_are_only_counted(told: SimpleNamespace) -> None:
    told.nodes.attempt_succeeded("a")
    for name in ("a", "a", "a", "gone", "gone"):
        told.nodes.attempt_failed(name)
    assert told.texts == []
    assert told.nodes.failures == {"a": 3}


def test_a_refused_attempt_closes_and_occupies_its_node_once(
    told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    occupied: list[str] = []

    def occupy(nodes: Nodes, node: Any) -> None:
        occupied.append(node["NodeID"])
        nodes.occupants[node["NodeID"]] = []

    monkeypatch.setattr(Nodes, "_occupy", occupy)
    for node_id in ("b", "b", "gone"):
        told.nodes.attempt_refused(node_id, "dataset 'x' has other content")
    assert told.texts == ["node b (10.0.0.1) gets no more trials: dataset 'x' has other content"]
    assert occupied == ["b"]
    assert told.nodes.failures == {}


class SlowLook:
    """A preflight whose looks take until they are let go."""

    def __init__(self) -> None:
        self.began, self.may_end, self.num_ended = threading.Event(), threading.Event(), 0

    def look_at_new(self, trials: Any, nodes: Any) -> list[Any]:
        self.began.set()
        self.may_end.wait()
        self.num_ended += 1
        return []


def lose_cluster_during(look: Any, nodes: Nodes) -> None:
    with watching(nodes, look, []):
        look.began.wait()
        raise ClusterError("gone")


def test_the_end_waits_for_a_look_that_goes_on_unless_the_cluster_is_lost(
    told: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_nodes, "SECONDS_BETWEEN_ROUNDS", 0.01)
    look: Any = SlowLook()
    with watching(told.nodes, look, []):
        look.began.wait()
        threading.Timer(0.2, look.may_end.set).start()
    assert look.num_ended > 0
    look = SlowLook()
    with pytest.raises(ClusterError):
        lose_cluster_during(look, told.nodes)
    assert look.num_ended == 0
    look.may_end.set()
