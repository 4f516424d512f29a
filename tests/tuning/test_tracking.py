"""Stores: made once and whole, reached quickly or given up quickly, and never left to guess."""

from __future__ import annotations

import http.server
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator import durable
from orchestrator.errors import NotReadyError
from orchestrator.results import ResultsDir
from orchestrator.tuning import tracking
from orchestrator.tuning.run_content import Point, RunContent
from orchestrator.tuning.tracking import TIMEOUTS, open_store
from tests.tuning.shown import put_store

ROOT = Path(__file__).parents[2]


def content_of(*points: Point, **changes: object) -> RunContent:
    known = {"name": "r", "status": "FINISHED", "start_ms": 1000, "end_ms": 2000, "params": {"a.b": "1"}}
    return RunContent(**{**known, "tags": {"kind": "trial", "trial_id": "t"}, "points": points, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_store_is_made_where_it_is_missing_and_nothing_else_is_left_over(results: ResultsDir) -> None:
    with open_store(results, "s") as store:
        assert store.find_runs() == []
    assert {path.name for path in results.root.iterdir()} == {"mlflow.db", "mlflow.id", "mlflow.lock", "sweeps"}


@pytest.mark.slow
def test_a_store_that_was_deleted_is_made_anew_in_the_same_process(results: ResultsDir) -> None:
    for _ in range(3):
        with open_store(results, "s") as store:
            assert store.find_runs() == []
            store.create(content_of())
            assert len(store.find_runs()) == 1
        results.mlflow_db.unlink()


@pytest.mark.slow
def test_sixteen_processes_that_start_at_once_make_one_good_store(results: ResultsDir) -> None:
    """One process imports what that takes, and forks sixteen, which meet at a file that is not there yet."""
    put_store(ResultsDir(results.root.with_name("warm")))
    code = f"""
import os, sys, time
from pathlib import Path
from orchestrator.results import ResultsDir
from orchestrator.tuning.tracking import open_store
root, warm = Path({str(results.root)!r}), Path({str(results.root.with_name("warm"))!r})
with open_store(ResultsDir(warm), "s"):
    pass
start, children = time.monotonic() + 0.5, []
for number in range(16):
    child = os.fork()
    if child == 0:
        time.sleep(max(0.0, start - time.monotonic()))
        with open_store(ResultsDir(root), f"s{{number}}") as store:
            store.find_runs()
        os._exit(0)
    children.append(child)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    names = {e.name for e in MlflowClient(f"sqlite:///{results.mlflow_db}").search_experiments()}
    assert names == {"Default", *(f"s{number}" for number in range(16))}
    assert [path.name for path in results.root.glob("*.db")] == ["mlflow.db"]


def test_a_store_of_another_schema_is_told_and_left_as_it_is(results: ResultsDir) -> None:
    put_store(results)
    with closing(sqlite3.connect(results.mlflow_db)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
    before = results.mlflow_db.read_bytes()
    with pytest.raises(NotReadyError, match=r"mlflow\.db failed: .*(revision|schema)"), open_store(results, "s"):
        pass
    assert results.mlflow_db.read_bytes() == before


@pytest.mark.parametrize("name", ["with space", "über", "a'b"])
def test_a_results_folder_may_have_an_odd_name(tmp_path: Path, name: str) -> None:
    results = ResultsDir(tmp_path / name)
    put_store(results)
    with open_store(results, "s") as store:
        store.create(content_of())
        assert len(store.find_runs()) == 1


@pytest.mark.parametrize("name", ["a%20b", "what?", "no#1"])
def test_a_name_that_mlflow_would_misread_is_told_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotReadyError, match="rename the folder"), open_store(ResultsDir(tmp_path / name), "s"):
        pass


def test_what_was_written_is_found_and_nothing_is_written_twice(results: ResultsDir) -> None:
    put_store(results)
    content = content_of(Point("val_acc", 1, 0.5, 1500))
    with open_store(results, "s") as store:
        store.create(content)
    with open_store(results, "s") as store:
        (run,) = store.find_runs()
        store.read_points(run)
        assert (run.status, run.end_ms, run.params, run.points) == (
            "FINISHED",
            2000,
            {"a.b": "1"},
            {("val_acc", 1): [0.5]},
        )
        assert run.shows(content)
        store.write(run, content)
        assert store.num_writes == 0


def test_more_values_than_one_request_takes_are_all_written(results: ResultsDir) -> None:
    put_store(results)
    points = [Point(f"m{step % 3}", step, float(step), step) for step in range(1300)]
    params = {f"p{number}": str(number) for number in range(230)}
    with open_store(results, "s") as store:
        store.create(content_of(*points, params=params))
        (run,) = store.find_runs()
        store.read_points(run)
    assert (len(run.points), run.params) == (1300, params)


def test_a_tag_that_no_longer_holds_is_taken_back(results: ResultsDir) -> None:
    put_store(results)
    with open_store(results, "s") as store:
        run = store.create(content_of(tags={"kind": "trial", "error": "out of memory"}, status="FAILED"))
        store.write(run, content_of(tags={"kind": "trial"}))
        (found,) = store.find_runs()
    assert "error" not in found.tags
    assert found.status == "FINISHED"


def test_an_experiment_that_was_deleted_by_hand_is_restored(results: ResultsDir) -> None:
    put_store(results)
    with open_store(results, "s"):
        client = MlflowClient(f"sqlite:///{results.mlflow_db}")
        experiment = client.get_experiment_by_name("s")
        assert experiment is not None
        client.delete_experiment(experiment.experiment_id)
    with open_store(results, "s") as store:
        store.create(content_of())
        assert len(store.find_runs()) == 1


def test_the_environment_gives_way_to_the_argument_and_the_run_id_is_dropped(
    results: ResultsDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ResultsDir(tmp_path / "other")
    put_store(results)
    put_store(other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{results.mlflow_db}")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    for uri in (None, f"sqlite:///{other.mlflow_db}"):
        with open_store(ResultsDir(tmp_path / "third"), "s", uri) as store:
            store.create(content_of())
    assert "MLFLOW_RUN_ID" not in os.environ
    for place in (results, other):
        client = MlflowClient(f"sqlite:///{place.mlflow_db}")
        experiment = client.get_experiment_by_name("s")
        assert experiment is not None
        assert len(client.search_runs([experiment.experiment_id])) == 1


class WrongServer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>not MLflow</html>")

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def wrong_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), WrongServer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://me:pw@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def dead_address() -> str:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_dead_server_is_given_up_in_seconds_and_says_what_to_do(results: ResultsDir) -> None:
    began = time.monotonic()
    with (
        pytest.raises(
            NotReadyError, match=r"failed: connection refused; every number is safe .* `orch sync s --results"
        ),
        open_store(results, "s", dead_address()),
    ):
        pass
    assert time.monotonic() - began < 10


@pytest.mark.slow
def test_a_server_that_never_answers_is_given_up_in_seconds(results: ResultsDir) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        began = time.monotonic()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NotReadyError, match="timed out"), open_store(results, "s", uri):
            pass
        assert time.monotonic() - began < 6 * int(TIMEOUTS["MLFLOW_HTTP_REQUEST_TIMEOUT"])


def test_a_server_that_is_not_mlflow_is_told_without_its_password(results: ResultsDir) -> None:
    with wrong_server() as uri, pytest.raises(NotReadyError) as caught, open_store(results, "s", uri):
        pass
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("uri", ["nonsense://x", "sqlite:////dev/null/x/mlflow.db"])
def test_a_place_that_cannot_be_is_told(results: ResultsDir, uri: str) -> None:
    with pytest.raises(NotReadyError, match=uri.partition(":")[0]), open_store(results, "s", uri):
        pass


def test_a_file_that_is_no_store_is_told(results: ResultsDir) -> None:
    durable.write_text(results.mlflow_db, "not a database " * 100)
    with pytest.raises(NotReadyError, match=r"mlflow\.db"), open_store(results, "s"):
        pass


@pytest.mark.slow
def test_an_interrupted_creation_leaves_no_half_store(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(tracking_uri: str) -> None:
        Path(tracking_uri.removeprefix("sqlite:///")).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(tracking, "MlflowClient", interrupted)
    with pytest.raises(NotReadyError, match="no space left"), open_store(results, "s"):
        pass
    assert not results.mlflow_db.exists()
    monkeypatch.undo()
    with open_store(results, "s") as store:
        assert store.find_runs() == []
    assert not list(results.root.glob(f"{durable.TEMPORARY_PREFIX}*"))
