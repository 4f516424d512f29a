"""ray_cluster.py: a cluster of one's own is closed to others, and an address is checked before Ray waits for it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ClusterError
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning import ray_cluster
from tests.tuning.ray_processes import descendants, listen_addresses
from tests.tuning.test_executors import execute, settings_for


def test_a_cluster_that_does_not_answer_is_an_error_with_advice(results: ResultsDir, tiny_trial: Trial) -> None:
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        execute("ray_tune", [tiny_trial], settings_for(results, [tiny_trial], "ray_tune", address="127.0.0.1:1"))


@pytest.mark.parametrize("address", ["somewhere", ":6379", "host:port"])
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ClusterError, match="is no cluster address; write HOST:PORT or auto"):
        ray_cluster.resolve(address)


def test_the_thin_client_is_refused_with_the_other_way() -> None:
    with pytest.raises(ClusterError, match="run orch on a node of the cluster"):
        ray_cluster.resolve("ray://10.0.0.1:10001")


def test_without_an_address_ray_starts_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(ray_cluster.ray, "init", lambda *words, **options: calls.append((*words, options)))
    ray_cluster.start_here().end()
    ((word, options),) = calls
    assert word == "local"
    assert options["_node_ip_address"] == "127.0.0.1"
    assert not options["include_dashboard"]
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_a_start_that_fails_is_told_with_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(*words: Any, **options: Any) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.setattr(ray_cluster.ray, "init", time_out)
    with pytest.raises(ClusterError, match=r"cannot start Ray on this machine: .* --executor serial"):
        ray_cluster.start_here()


def test_a_slow_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    services, answers = ray_cluster.ray._private.services, [RuntimeError("not yet"), RuntimeError("not yet"), {"id": 1}]

    def answer(address: str) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(services, "get_node", answer)
    with ray_cluster.patiently():
        assert services.get_node("a") == {"id": 1}
    assert services.get_node is answer


@pytest.mark.slow
def test_a_cluster_of_ones_own_listens_on_loopback_and_asks_for_a_token(results: ResultsDir) -> None:
    from orchestrator.tuning.ray_token import asks_for_token

    before = set(descendants(os.getpid()))
    with ray_cluster.connected(settings_for(results, [], "ray_tune")):
        address = ray_cluster.ray.get_runtime_context().gcs_address
        processes = [os.getpid(), *(process for process in descendants(os.getpid()) if process not in before)]
        names = {Path(f"/proc/{process}/comm").read_text().strip() for process in processes}
        addresses = listen_addresses(processes)
        assert asks_for_token(address)
    assert {"gcs_server", "raylet"} <= names
    assert addresses
    assert {host for host, _ in addresses} == {"127.0.0.1"}
    ends = time.monotonic() + 10
    while left := set(descendants(os.getpid())) - before:
        assert time.monotonic() < ends, left  # one that is just ending has no environment any more, and is still there
        time.sleep(0.1)
