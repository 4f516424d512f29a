"""A real Ray cluster on one machine: every node has an address, a folder and processes of its own.

The processes of a node inherit a word by which they are found and ended, all at once, as by a power cut.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.tuning.ray_cluster import free_ports
from orchestrator.tuning.ray_guard import KEEP_ENVIRONMENT, MARK, marked

OBJECT_STORE_BYTES = 80_000_000
"""Ray takes no fewer than 75 MiB."""
NUM_STARTS = 3
"""On a busy machine a node may not be up in the half minute that Ray gives it."""
SECONDS_TO_START = 120
ENVIRONMENT = {
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_health_check_period_ms": "1000",  # else the cluster sees after 15 s that a node is gone
    KEEP_ENVIRONMENT: "1",
}
PORTS = ("--dashboard-agent-grpc-port", "--runtime-env-agent-port", "--metrics-export-port")


@dataclass
class Node:
    """One node."""

    address: str
    """Where it says it is."""
    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def has(self, process: int) -> bool:
        """Whether a process that runs belongs to the node."""
        return process in marked(self.mark)

    def names(self) -> list[str]:
        """The command lines of what runs there."""
        found = []
        for process in marked(self.mark):
            with suppress(OSError):
                found.append(Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def kill(self) -> None:
        """End all of it with SIGKILL."""
        while left := marked(self.mark):
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


@dataclass
class Cluster:
    """A head and what joined it."""

    auth_mode: str = "token"
    port: int = field(default_factory=lambda: free_ports(1)[0])
    nodes: list[Node] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(self, num_cpus: int, **environment: str) -> Node:
        """Start one more node; the first is the head.

        Args:
            environment: that all its processes have besides.

        Raises:
            AssertionError: Ray does not start it.
        """
        where = ["--head", f"--port={self.port}", "--include-dashboard=false", "--no-monitor"]
        if self.nodes:
            where = [f"--address={self.address}"]
        node = Node(f"127.0.0.{len(self.nodes) + 1}", Path(tempfile.mkdtemp(prefix="orch-node-")))
        self.nodes.append(node)
        for _ in range(NUM_STARTS):
            if (told := self._start(node, [*where, f"--num-cpus={num_cpus}"], environment)) is None:
                return node
            node.kill()
        raise AssertionError(f"Ray does not start: {told}")

    def _start(self, node: Node, words: list[str], own: dict[str, str]) -> str | None:
        """None where it runs, else what Ray said."""
        common = [f"--node-ip-address={node.address}", f"--temp-dir={node.folder}", "--num-gpus=0"]
        common += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false"]
        common += [f"{name}={port}" for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)]
        environment = {**os.environ, **ENVIRONMENT, MARK: node.mark, "RAY_AUTH_MODE": self.auth_mode}
        environment.pop("PYTHONPATH", None)  # the code has to travel
        environment |= own
        said = node.folder / "start.log"
        with said.open("w") as stream:
            run = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *common, *words],
                cwd=node.folder, env=environment, stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        try:
            has_started = run.wait(SECONDS_TO_START) == 0
        except subprocess.TimeoutExpired:
            run.kill()
            has_started = run.wait() == 0
        return None if has_started else said.read_text()

    def node_of(self, process: int) -> Node | None:
        """The node whose process this is; None for one that is gone."""
        return next((node for node in self.nodes if node.has(process)), None)

    def end(self) -> None:
        """End every process, and remove the folders."""
        for node in reversed(self.nodes):
            node.kill()
            shutil.rmtree(node.folder, ignore_errors=True)


@contextmanager
def cluster_of(*num_cpus: int, auth_mode: str = "token") -> Iterator[Cluster]:
    """A cluster with a node for each number of CPUs; nothing of it is left afterwards."""
    cluster = Cluster(auth_mode)
    try:
        for number in num_cpus:
            cluster.add(number)
        yield cluster
    finally:
        cluster.end()
