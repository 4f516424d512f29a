"""A results folder in, MLflow's own dashboard on loopback out, until a signal ends it.

The server is a child process in a group of its own, so all of it ends with us. It answers to loopback names only, loads
no pickle and starts no job runner.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO, Any

from orchestrator import places
from orchestrator.errors import NotReadyError, ResultsError
from orchestrator.redact import redact_text
from orchestrator.results import ResultsDir
from orchestrator.wording import orch_command

HOST = "127.0.0.1"

SECONDS_TO_START = 120.0
SECONDS_TO_STOP = 5.0
SECONDS_BETWEEN_LOOKS = 0.1

ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "PYTHONUNBUFFERED": "1",
}


TRAINING_VIEW = "workflowType=machine_learning"
"""Without it MLflow opens with chat traces."""


@dataclass(frozen=True)
class Addresses:
    """Where to look."""

    dashboard: str
    charts: Mapping[str, str]
    """Sweep to the page that draws its accuracy against depth."""


def serve(
    results: ResultsDir,
    announce: Callable[[Addresses], None],
    *,
    port: int | None = None,
    tracking_uri: str | None = None,
    stop: threading.Event | None = None,
) -> int:
    """Serve the dashboard until SIGINT, SIGTERM or SIGHUP (or `stop`); returns 128 + the signal's number, or 0.

    Args:
        announce: is told where to look, once the server answers.
        port: a free one by default.
        tracking_uri: where the runs are, by default as for the mirror; a server's own URL is only announced.

    Raises:
        ResultsError: there is nothing to show yet.
        NotReadyError: the server does not start; the message ends with what it said.
    """
    uri = places.tracking_uri(tracking_uri)
    if uri is not None and uri.startswith("http"):
        announce(Addresses(redact_text(uri), {}))
        return 0
    if uri is None and not results.mlflow_db.exists():
        again = orch_command(["sync"], results.root)
        raise ResultsError(f"there is no {results.mlflow_db} yet; `orch run` writes it, and `{again}` builds it")
    port = port or _free_port()
    with tempfile.TemporaryFile("w+") as output, _signals_caught(stop or threading.Event()) as caught:
        process = subprocess.Popen(
            _command(results, uri, port),
            env={**{k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}, **ENVIRONMENT},
            cwd=results.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if _wait_until_it_answers(process, port, caught, output):
                announce(_addresses(port))
            while not caught.is_set():
                if process.poll() is not None:
                    raise NotReadyError(f"the MLflow server ended by itself:\n{_tail(output)}")
                caught.wait(SECONDS_BETWEEN_LOOKS)
        finally:
            _end(process)
    return caught.exit_code


class _Caught:
    """Whether to stop, and the signal that said so."""

    def __init__(self, event: threading.Event) -> None:
        self._event, self.exit_code = event, 0
        self.is_set, self.wait = event.is_set, event.wait

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = 128 + number
        self._event.set()


@contextmanager
def _signals_caught(stop: threading.Event) -> Iterator[_Caught]:
    """Signals set `stop` while the block runs; outside the main thread, which alone hears them, only `stop` counts."""
    caught = _Caught(stop)
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, caught.on_signal) for number in numbers}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _command(results: ResultsDir, uri: str | None, port: int) -> list[str]:
    store = uri or f"sqlite:///{results.mlflow_db.resolve()}"
    artifacts = str(results.mlflow_artifacts.resolve())
    names = f"{HOST}:{port},localhost:{port}"
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store, "--artifacts-destination", artifacts),
        *("--allowed-hosts", names, "--cors-allowed-origins", f"http://{HOST}:{port},http://localhost:{port}"),
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, caught: _Caught, output: IO[str]) -> bool:
    """True once the server answers, False when a signal came first."""
    deadline = time.monotonic() + SECONDS_TO_START
    while not caught.is_set():
        if _answers(port):
            return True
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotReadyError(f"the MLflow server does not start on port {port}:\n{_tail(output)}")
        caught.wait(SECONDS_BETWEEN_LOOKS)
    return False


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _addresses(port: int) -> Addresses:
    start = f"http://{HOST}:{port}/#/experiments"
    experiments = _ask(port, "experiments/search", {"max_results": 1000}).get("experiments", [])
    names = {experiment["experiment_id"]: experiment["name"] for experiment in experiments}
    query = {"experiment_ids": list(names), "filter": "tags.kind = 'sweep'", "max_results": 1000}
    runs = [run["info"] for run in _ask(port, "runs/search", query).get("runs", [])]
    charts = {
        names[
            run["experiment_id"]
        ]: f"{start}/{run['experiment_id']}/runs/{run['run_id']}/model-metrics?{TRAINING_VIEW}"
        for run in runs
    }
    return Addresses(f"{start}?{TRAINING_VIEW}", dict(sorted(charts.items())))


def _ask(port: int, what: str, query: Mapping[str, object]) -> dict[str, Any]:
    connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS_TO_START)
    try:
        connection.request("POST", f"/api/2.0/mlflow/{what}", json.dumps(query), {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotReadyError(f"the MLflow server on port {port} does not answer: {error}") from error
    finally:
        connection.close()


def _tail(output: IO[str]) -> str:
    output.seek(0)
    return redact_text("\n".join(output.read().splitlines()[-10:]))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and all it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(SECONDS_TO_STOP)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()
