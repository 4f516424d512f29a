"""The dashboard: on loopback, for loopback names only, gone when it is told to go."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator import durable
from orchestrator.errors import NotReadyError, ResultsError
from orchestrator.results import ResultsDir
from orchestrator.tuning.dashboard import Addresses, serve
from orchestrator.tuning.sync import sync
from tests.tuning.dashboard_server import served
from tests.tuning.shown import Shown, make_stored_sweep, put_store
from tests.tuning.sweep_files import finish_trial, make_index, make_sweep, name_curves, trials_of, write_index

ROOT = Path(__file__).parents[2]

PROC = Path("/proc")
LISTENING, LOOPBACK = "0A", "0100007F"
"""As the kernel writes them in its tables."""

needs_proc = pytest.mark.skipif(not PROC.is_dir(), reason="needs Linux's /proc")


def port_of(addresses: Addresses) -> int:
    port = urlsplit(addresses.dashboard).port
    assert port is not None
    return port


def status_of(port: int, host: str, path: str = "/") -> int:
    """What the server answers to a browser that believes it is at `host`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        connection.request("GET", path, headers={"Host": host})
        return connection.getresponse().status


def processes_with(word: str) -> list[str]:
    found = []
    for path in PROC.glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        found += [" ".join(words)] if word in words else []
    return found


def test_without_a_store_there_is_nothing_to_show(results: ResultsDir) -> None:
    with pytest.raises(ResultsError, match="orch sync"):
        serve(results, lambda _: None)
    assert not results.root.exists()


def test_a_server_of_ones_own_is_only_announced_without_its_password(
    results: ResultsDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:pw@mlflow.example.org")
    told: list[Addresses] = []
    assert serve(results, told.append) == 0
    assert told == [Addresses("https://[redacted]@mlflow.example.org", {})]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> ResultsDir:
    results = ResultsDir(tmp_path_factory.mktemp("dashboard") / "results")
    make_stored_sweep(results, make_index((2, 4)), [0.5, 0.6])
    durable.write_text(results.sweep("s").report / "accuracy.svg", "<svg/>")
    sync(results, "s", name_curves)
    return results


@pytest.fixture(scope="module")
def addresses(folder: ResultsDir) -> Iterator[Addresses]:
    with served(folder) as addresses:
        yield addresses


@pytest.mark.slow
def test_only_loopback_names_are_answered(addresses: Addresses) -> None:
    port = port_of(addresses)
    assert status_of(port, f"127.0.0.1:{port}") == 200
    assert status_of(port, f"localhost:{port}") == 200
    assert status_of(port, "evil.example.org") == 403
    assert status_of(port, "192.168.1.1") == 403


@needs_proc
@pytest.mark.slow
def test_it_listens_on_loopback_only(addresses: Addresses) -> None:
    tables = [path.read_text().splitlines()[1:] for path in (PROC / "net/tcp", PROC / "net/tcp6") if path.exists()]
    places = [row.split()[1].split(":") for table in tables for row in table if row.split()[3] == LISTENING]
    assert {address for address, port in places if int(port, 16) == port_of(addresses)} == {LOOPBACK}


@pytest.mark.slow
def test_each_sweep_has_an_address_for_its_charts(addresses: Addresses, folder: ResultsDir) -> None:
    parent = Shown(folder).parent.info
    assert set(addresses.charts) == {"s"}
    assert f"/experiments/{parent.experiment_id}/runs/{parent.run_id}/model-metrics" in addresses.charts["s"]


@pytest.mark.slow
def test_figures_are_served(addresses: Addresses, folder: ResultsDir) -> None:
    port, run_id = port_of(addresses), Shown(folder).parent.info.run_id
    path = f"/get-artifact?run_uuid={run_id}&path=figures/accuracy.svg"
    assert status_of(port, f"127.0.0.1:{port}", path) == 200
    assert status_of(port, f"127.0.0.1:{port}", path.replace("accuracy", "other")) != 200


@pytest.mark.slow
def test_a_mirror_behind_a_server_is_kept_like_one_in_a_file(addresses: Addresses, tmp_path: Path) -> None:
    results, uri = ResultsDir(tmp_path), f"http://127.0.0.1:{port_of(addresses)}"
    index = replace(make_index((2, 4), ("self",), (0,)), name="remote")
    make_sweep(results, index, [0.5, 0.6])
    durable.write_text(results.sweep("remote").report / "accuracy.svg", "<svg/>")
    first = sync(results, "remote", name_curves, tracking_uri=uri)
    assert (first.num_trials, sync(results, "remote", name_curves, tracking_uri=uri).num_writes) == (2, 0)
    before = Shown(results, "remote", uri).parent.info.run_id
    grown = replace(make_index((2, 4), ("self",), (0, 1)), name="remote")
    write_index(results, grown)
    for trial in trials_of(grown):
        finish_trial(results, trial, 0.7)
    sync(results, "remote", name_curves, tracking_uri=uri)
    shown = Shown(results, "remote", uri)
    assert shown.parent.info.run_id != before
    assert [step for step, _ in shown.points(shown.parent)["test_acc/self"]] == [2, 4]
    assert [file.path for file in shown.client.list_artifacts(shown.parent.info.run_id, "figures")] == [
        "figures/accuracy.svg"
    ]
    assert not results.mlflow_db.exists()


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_all_it_started(results: ResultsDir, number: signal.Signals) -> None:
    put_store(results)
    code = (
        "import sys; from pathlib import Path; from orchestrator.results import ResultsDir\n"
        "from orchestrator.tuning.dashboard import serve\n"
        f"sys.exit(serve(ResultsDir(Path({str(results.root)!r})), lambda a: print(a.dashboard, flush=True)))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = str(urlsplit(process.stdout.readline()).port)
    assert len(processes_with(port)) >= 2
    os.kill(process.pid, number)
    assert process.wait(30) == 128 + number
    process.stdout.close()
    assert processes_with(port) == []


@pytest.mark.slow
def test_a_port_that_is_taken_is_told_with_what_the_server_said(folder: ResultsDir) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NotReadyError, match=rf"(?s)port {port}:.*address already in use"):
            serve(folder, lambda _: None, port=port)
