"""Whatever an MLflow server does in between, a later `sync` makes its history equal to the files: each point once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator import durable
from orchestrator.errors import NotReadyError
from orchestrator.record import SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.tuning.run_content import EPOCH_METRICS
from orchestrator.tuning.sync import open_sweep, sync
from tests.tuning.dashboard_server import served
from tests.tuning.faulty_server import CLOSE, DROP, ERROR, PASS, SLOW, FaultyServer, faulty_server
from tests.tuning.shown import Shown, put_store
from tests.tuning.sweep_files import finish_trial, make_index, make_sweep, name_curves, start_trial, trials_of

pytestmark = pytest.mark.slow

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultsDir:
    """What the real server keeps."""
    results = ResultsDir(tmp_path_factory.mktemp("server") / "results")
    put_store(results)
    return results


@pytest.fixture(scope="module")
def server(store: ResultsDir) -> Iterator[FaultyServer]:
    """A real MLflow server behind a proxy that injects faults."""
    with served(store) as addresses, faulty_server(addresses.dashboard) as proxy:
        yield proxy


@pytest.fixture
def index() -> SweepIndex:
    """A sweep with a name of its own, because tests share the server."""
    return make_index((2, 4), name=f"s{next(NUMBERS)}")


def history(store: ResultsDir, name: str) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Every point that MLflow has of every trial; `children` refuses a trial that has two runs."""
    shown = Shown(store, name)
    assert {run.info.status for run in shown.runs} == {"FINISHED"}
    return {trial_id: shown.points(run) for trial_id, run in shown.children.items()}


def told_by_files(results: ResultsDir, index: SweepIndex) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """The epochs of every trial, and what its record ends with."""
    return {member.trial_id: _points_of(results, member.trial_id) for member in index.members}


def _points_of(results: ResultsDir, trial_id: str) -> dict[str, list[tuple[int, float]]]:
    folder = results.trial(trial_id)
    points: dict[str, list[tuple[int, float]]] = {}
    for row in folder.read_metrics():
        for key in EPOCH_METRICS:
            value: Any = getattr(row, key)
            if value is not None:
                points.setdefault(key, []).append((row.epoch, value))
    record = folder.read_record()
    assert record is not None
    for name in ("final/test_acc", "final/test_loss", "final/val_acc", "final/val_loss"):
        points[name] = [(record.num_epochs, getattr(record, name.partition("/")[2]))]
    for name in ("num_params", "flops", "wall_time_s", "train_time_s", "peak_memory_mib"):
        points[f"cost/{name}"] = [(record.num_epochs, getattr(record, name))]
    return points


def try_to_sync(results: ResultsDir, name: str, uri: str) -> bool:
    try:
        sync(results, name, name_curves, tracking_uri=uri)
    except NotReadyError as error:
        assert f"orch sync {name}" in str(error)  # noqa: PT017  either outcome is legal
        return False
    return True


def check_history(store: ResultsDir, results: ResultsDir, index: SweepIndex, server: FaultyServer) -> None:
    server.play()
    sync(results, index.name, name_curves, tracking_uri=server.url)
    assert history(store, index.name) == told_by_files(results, index)
    assert sync(results, index.name, name_curves, tracking_uri=server.url).num_writes == 0


def test_an_answer_lost_at_any_request_doubles_nothing(
    store: ResultsDir, server: FaultyServer, results: ResultsDir
) -> None:
    first = make_index((2,), name=f"s{next(NUMBERS)}")
    make_sweep(results, first, [0.5])
    server.play()
    sync(results, first.name, name_curves, tracking_uri=server.url)
    num_requests = len(server.seen)
    assert num_requests > 5
    for number in range(num_requests):
        index = make_index((2,), name=f"s{next(NUMBERS)}")
        make_sweep(results, index, [0.5])
        server.play(*[PASS] * number, *[DROP] * (1 + number % 2))  # the client asks a second time
        try_to_sync(results, index.name, server.url)
        check_history(store, results, index, server)


@pytest.mark.parametrize("fault", [CLOSE, ERROR, SLOW, DROP])
def test_after_one_kind_of_fault_history_is_equal(
    store: ResultsDir, server: FaultyServer, results: ResultsDir, index: SweepIndex, fault: str
) -> None:
    make_sweep(results, index, [0.5, 0.6])
    server.play(PASS, PASS, PASS, then=fault)
    assert try_to_sync(results, index.name, server.url) is (fault == SLOW)
    check_history(store, results, index, server)


def test_after_any_mix_of_faults_history_is_equal(
    store: ResultsDir, server: FaultyServer, results: ResultsDir, index: SweepIndex
) -> None:
    make_sweep(results, index, [0.5, 0.6])
    drawn = random.Random(0)
    outcomes = []
    for _ in range(8):
        server.play(*drawn.choices([PASS, CLOSE, ERROR, DROP], [8, 1, 1, 1], k=40))
        outcomes.append(try_to_sync(results, index.name, server.url))
    assert False in outcomes
    check_history(store, results, index, server)


def test_a_run_that_was_made_twice_is_one_when_the_writer_ends(
    store: ResultsDir, server: FaultyServer, results: ResultsDir, index: SweepIndex
) -> None:
    make_sweep(results, index)
    trials = trials_of(index)
    with open_sweep(results, index, name_curves, tracking_uri=server.url) as writer:
        for trial in trials:
            finish_trial(results, trial, 0.5)
        server.play(*[DROP, PASS] * 50)
        writer.update((), ())
        server.play()
        assert len(Shown(store, index.name).runs) > 1 + len(trials), "the client asked again for what it had got"
        writer.update((), (), is_last=True)
    assert history(store, index.name) == told_by_files(results, index)


def test_runs_that_a_killed_run_left_running_are_ended(
    store: ResultsDir, server: FaultyServer, results: ResultsDir, index: SweepIndex
) -> None:
    trials = make_sweep(results, index)
    server.play()
    start_trial(results, trials[0], 1)
    with open_sweep(results, index, name_curves, tracking_uri=server.url) as writer:
        writer.update((), [trials[0].trial_id])
    assert {run.info.status for run in Shown(store, index.name).runs} == {"RUNNING"}
    sync(results, index.name, name_curves, tracking_uri=server.url)
    assert {run.info.status for run in Shown(store, index.name).runs} == {"KILLED"}
    assert durable.read_sealed_json(results.trial(trials[0].trial_id).attempt_file(1))["outcome"] is None


def test_nothing_is_printed_but_what_we_print(
    server: FaultyServer, results: ResultsDir, index: SweepIndex, capfd: pytest.CaptureFixture[str]
) -> None:
    make_sweep(results, index, [0.5])
    server.play()
    sync(results, index.name, name_curves, tracking_uri=server.url)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
