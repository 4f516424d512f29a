"""Ray for as long as a run lasts: a cluster of its own on this machine, or one that was named.

A cluster on this machine listens on loopback alone and has no dashboard. Leaving never waits for Ray longer than it
needs: once Ray's processes are gone, its own shutdown may hang.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.tuning.events import RunSettings
from orchestrator.tuning.ray_environment import DASHBOARD_AGENT_LISTEN_PORT_NAME, persist_port, ray
from orchestrator.tuning.ray_guard import Guard
from orchestrator.tuning.ray_shipping import runtime_environment
from orchestrator.tuning.ray_token import check_secured, ensure_token, use_token
from orchestrator.tuning.ray_watch import Door, Watch

SECONDS_TO_CONNECT = 10
SECONDS_TO_LEAVE = 10
OBJECT_STORE_BYTES = 256 * 2**20
"""Trials share no objects, so a small store will do."""
SECONDS_TO_START = 120
AGENT_PORTS = ("metrics_agent_port", "runtime_env_agent_port", "metrics_export_port")
NOT_SERVED = -1
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}


@dataclass
class Connection:
    """A cluster that was joined or started."""

    address: str | None
    """As the person named it; None for one of this run's own."""
    watch: Watch
    guard: Guard | None
    """None for a cluster that was there before."""
    looked_at: set[tuple[str, str]] = field(default_factory=set)
    """Nodes, and the datasets they were looked at for."""


_connections: list[Connection] = []


@contextmanager
def connected(settings: RunSettings) -> Iterator[Connection]:
    """Ray for as long as the block runs; inside another such block it is there already.

    Raises:
        ClusterError: Ray does not start, or the cluster does not answer or asks for no token.
    """
    if _connections:
        yield _connections[-1]
        return
    with tempfile.TemporaryDirectory(prefix="orch-code-", ignore_cleanup_errors=True) as staging:
        is_ours = not ray.is_initialized()
        guard = join(settings, Path(staging)) if is_ours else None
        connection = Connection(settings.address, Watch(doors_of_run()), guard)
        connection.watch.start()
        _connections.append(connection)
        try:
            yield connection
        finally:
            _connections.remove(connection)
            connection.watch.stop()
            if is_ours:
                leave(guard, is_lost=connection.watch.is_alone())


def join(settings: RunSettings, staging: Path) -> Guard | None:
    """Start Ray on this machine, or join the cluster that was named; its workers get the code from `staging`.

    Returns:
        The guard of a cluster that was started.

    Raises:
        ClusterError: as `connected`.
    """
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters comes back as an event or an exception
    if settings.address is None:
        return start_here()
    address = resolve(settings.address)
    check_secured(address, is_insecure=settings.insecure)
    try:
        ray.init(address=address, runtime_env=runtime_environment(Path.cwd(), staging), **QUIET)
    except Exception as error:
        raise ClusterError(
            f"cannot join the Ray cluster at {address}: {error}; orch runs on a node of the cluster "
            f"(`ray start --address {address}` makes this machine one)"
        ) from error
    return None


def start_here() -> Guard:
    """A cluster of this machine alone, on loopback.

    Raises:
        ClusterError: Ray does not start.
    """
    use_token(is_on=True)
    ensure_token()
    guard = Guard()
    try:
        with guard.marking(), _on_loopback(), patiently():
            # "local", because without an address Ray joins whatever cluster already runs on this machine.
            ray.init(
                "local",
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                **QUIET,
            )
    except Exception as error:
        guard.end(at_once=True)
        raise ClusterError(
            f"cannot start Ray on this machine: {error}; `orch run --executor serial` trains without it"
        ) from error
    return guard


@contextmanager
def patiently() -> Iterator[None]:
    """Let Ray take its time, and start less: by itself it gives up its first node after half a minute.

    Its raylet gives its agents even less to tell which ports they chose. So they are told three of them, and of the
    fourth, which serves the dashboard, the raylet is told what an agent says that does not serve it. Three processes
    are left out: they would forward logs that nobody reads, scale a single machine, serve a dashboard that is off.
    """
    services: Any = ray._private.services
    parameter: Any = ray._private.parameter
    node: Any = ray._private.node.Node
    ask, parameters, start = services.get_node, parameter.RayParams, node.start_ray_processes

    def ask_again(*words: Any) -> Any:
        ends = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                return ask(*words)
            except RuntimeError:
                if time.monotonic() > ends:
                    raise
                time.sleep(0.1)

    def with_ports(**options: Any) -> Any:
        made = parameters(**options)
        for name, port in zip(AGENT_PORTS, free_ports(), strict=True):
            setattr(made, name, getattr(made, name) or port)
        made.include_log_monitor, made.no_monitor = False, True
        return made

    def start_told(self: Any) -> None:
        persist_port(self._session_dir, self._node_id, DASHBOARD_AGENT_LISTEN_PORT_NAME, NOT_SERVED)
        start(self)

    with ExitStack() as stack:
        for owner, name, eased in (
            (services, "get_node", ask_again),
            (services, "start_api_server", lambda *words, **options: ("", None)),
            (parameter, "RayParams", with_ports),
            (node, "start_ray_processes", start_told),
        ):
            stack.enter_context(_replaced(owner, name, eased))
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` while the block runs."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def free_ports(count: int = len(AGENT_PORTS)) -> list[int]:
    """Ports of this machine that nobody listens at."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Ray's word for it: with clusters switched off, a node's address stays 127.0.0.1 and every server binds to it."""
    constants, name = ray._private.ray_constants, ray._private.ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    before, was_on = os.environ.get(name), constants.ENABLE_RAY_CLUSTER
    os.environ[name], constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = was_on
        os.environ.pop(name) if before is None else os.environ.update({name: before})


def resolve(address: str) -> str:
    """HOST:PORT of the cluster that `address` names; knocks before Ray does, which waits long at a closed door.

    Raises:
        ClusterError: it names none, or nobody listens there.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address} asks for Ray's thin client, which cannot watch a cluster; run orch on a node of the cluster "
            "with --address HOST:PORT (6379 by default) or --address auto"
        )
    if address == "auto":
        address = _find_cluster()
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"{address!r} is no cluster address; write HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error}; "
            "start one with `ray start --head`, or leave out --address to use this machine"
        ) from error
    return address


def _find_cluster() -> str:
    try:
        return str(ray._private.services.canonicalize_bootstrap_address_or_die("auto"))
    except ConnectionError as error:
        raise ClusterError(
            f"--address auto finds no one Ray cluster on this machine ({error}); "
            "start one with `ray start --head`, or name its HOST:PORT"
        ) from error


def doors_of_run() -> dict[str, Door]:
    """Where the processes listen without which the driver is alone."""
    host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
    doors = {"Ray's control service (GCS)": (host, int(port))}
    own = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        if node["NodeID"] == own:
            doors["the raylet of this node"] = (node["NodeManagerAddress"], node["NodeManagerPort"])
    return doors


def leave(guard: Guard | None, *, is_lost: bool) -> None:
    """Disconnect, and end a cluster of this run's own; a run whose Ray is gone does not wait for it."""
    if not is_lost:
        ray.shutdown()
        if guard is not None:
            guard.end()
        return
    if guard is not None:
        guard.end(at_once=True)
    thread = threading.Thread(target=ray.shutdown, name="ray-shutdown", daemon=True)
    thread.start()
    thread.join(SECONDS_TO_LEAVE)
    if thread.is_alive():
        atexit.unregister(ray._private.worker.shutdown)
        atexit.register(_exit_without_ray)


def _exit_without_ray() -> None:
    """Ray's own exit waits for processes that are gone, so it is skipped; everything of a run is on disk by now."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ClusterError.exit_code)
