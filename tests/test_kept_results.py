"""A results root of every version opens for ever, and what a later version wrote is refused with a sentence."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import durable
from orchestrator.cli import run_command
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.views.table import read_table
from tests.data.make_results_fixture import KEPT, TROUBLED, TUNED, numbers_of

DATA = Path(__file__).parent / "data"
VERSIONS = sorted(path.name for path in DATA.glob("results_*") if path.is_dir())
SPECS = {"kept": KEPT, "troubled": TROUBLED, "tuned": TUNED}


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def root(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultsDir:
    """A copy of a kept root as `results` in the working directory, with its specs beside it."""
    monkeypatch.chdir(tmp_path)
    for name, text in SPECS.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return ResultsDir(shutil.copytree(DATA / version, tmp_path / "results"))


@pytest.fixture
def numbers(version: str) -> dict:
    """What stands in the root, as it was known when it was written."""
    return json.loads((DATA / f"{version}.json").read_text())


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command and give what it printed to stdout."""

    def run(*words: str, code: int = 0) -> str:
        found = run_command(list(words))
        captured = capsys.readouterr()
        assert found == code, captured.err
        return captured.out

    return run


def test_the_versions_are_there() -> None:
    assert VERSIONS[0] == "results_1"


def test_every_number_is_the_one_that_was_written(root: ResultsDir, numbers: dict) -> None:
    assert numbers_of(root) == numbers
    states = {trial["state"] for sweep in numbers.values() for trial in sweep.values()}
    assert states == {"COMPLETE", "DIVERGED", "FAIL", "WAITING"}


def test_the_table_has_the_numbers(root: ResultsDir, numbers: dict) -> None:
    table = read_table(root.root, "kept").set_index("trial_id")
    assert table.attrs["notices"] == []
    for trial_id, trial in numbers["kept"].items():
        assert table.loc[trial_id, "test_acc"] == trial["record"]["test_acc"]
        assert table.loc[trial_id, "num_params"] == trial["record"]["num_params"]
    troubled = read_table(root.root, "troubled")
    assert sorted(troubled["state"]) == ["DIVERGED", "DIVERGED", "FAIL", "WAITING"]
    assert troubled["test_acc"].map(math.isnan).all()


def test_status_and_logs_read_it(root: ResultsDir, numbers: dict, printed: Callable[..., str]) -> None:
    for name, trials in numbers.items():
        told = json.loads(printed("status", name, "--json"))["trials"]
        assert {trial["trial_id"]: trial["state"] for trial in told} == {
            trial_id: trial["state"] for trial_id, trial in trials.items()
        }
    failed = next(trial_id for trial_id, trial in numbers["troubled"].items() if trial["state"] == "FAIL")
    assert "a bug in somebody's attention" in printed("status", "troubled")
    assert "a bug in somebody's attention" in printed("logs", failed)
    assert "kept: 4 COMPLETE" in printed("status")


def test_a_plan_finds_it_done_and_a_run_trains_nothing(root: ResultsDir, printed: Callable[..., str]) -> None:
    for name in ("kept", "tuned"):
        plan = json.loads(printed("plan", f"{name}.yaml", "--json"))
        assert (plan["num_to_run"], plan["num_search_to_run"]) == (0, 0)
        summary = printed("run", f"{name}.yaml", "--executor", "serial", "--json").splitlines()[-1]
        assert json.loads(summary)["num_reused"] == plan["num_trials"]
    troubled = json.loads(printed("plan", "troubled.yaml", "--json"))
    assert [cell["num_diverged"] for cell in troubled["cells"]] == [2, 0]
    assert "interrupted after 1 epochs" in troubled["cells"][1]["reasons"]


def test_files_compare_and_export_as_they_are(root: ResultsDir, printed: Callable[..., str]) -> None:
    assert "4 finished trials held against their records" in printed("verify", "kept", "-k", "0")
    assert json.loads(printed("gc", "--weights", "none", "--json"))["categories"]["weights"]["num"] == 8
    compared = json.loads(printed("compare", "kept", "kept", "--json"))
    assert [cell["delta"]["estimate"]["value"] for cell in compared["cells"]] == [0.0, 0.0]
    for rows, num in (("trials", 4), ("epochs", 8), ("blocks", 8)):
        told = json.loads(printed("export", "kept", "--rows", rows, "--json"))
        assert told["num_rows"] == num
    assert json.loads(printed("export", "tuned", "--json"))["num_rows"] == 2


@pytest.mark.slow
def test_reports_and_the_mirror_are_made_of_it(root: ResultsDir, printed: Callable[..., str]) -> None:
    for name in SPECS:
        assert Path(printed("report", name).strip()).stat().st_size > 10_000
    assert "kept" in printed("sync")


@pytest.mark.slow
def test_an_interrupted_trial_goes_on_from_its_checkpoint(
    root: ResultsDir, numbers: dict, printed: Callable[..., str]
) -> None:
    waiting = next(trial_id for trial_id, trial in numbers["troubled"].items() if trial["state"] == "WAITING")
    printed("resume", "troubled", "--executor", "serial", "--allow-code-change", code=1)
    folder = root.trial(waiting)
    assert folder.state() is State.COMPLETE
    assert folder.read_attempts()[-1].started_from == "1-0"
    assert folder.read_metrics()[0].numbers() == numbers["troubled"][waiting]["rows"][0]


READERS_OF_ALL = ("status", "plan", "run", "resume", "export", "compare", "verify", "sync", "gc", "report")
READERS = {
    "record": ("kept", READERS_OF_ALL),
    "attempt": ("troubled", ("status", "plan", "run", "resume", "export", "compare", "report")),
    "index": ("kept", READERS_OF_ALL),
    "tuned": ("tuned", ("run", "resume", "report")),
}
WORDS = {
    "status": ("status", "{}"),
    "plan": ("plan", "{}.yaml"),
    "run": ("run", "{}.yaml", "--executor", "serial"),
    "resume": ("resume", "{}", "--executor", "serial"),
    "export": ("export", "{}"),
    "compare": ("compare", "{}", "{}"),
    "verify": ("verify", "{}", "-k", "0"),
    "sync": ("sync", "{}"),
    "gc": ("gc", "{}"),
    "report": ("report", "{}"),
}


def newer_file(root: ResultsDir, numbers: dict, kind: str) -> Path:
    """Raise the schema of one file of this kind, and give a field to it that this version does not know."""
    waiting = next(trial_id for trial_id, trial in numbers["troubled"].items() if trial["state"] == "WAITING")
    path = {
        "record": root.trial(next(iter(numbers["kept"]))).record_file,
        "attempt": root.trial(waiting).attempt_file(1),
        "index": root.sweep("kept").trials_file,
        "tuned": root.sweep("tuned").tuned_file,
    }[kind]
    content = durable.read_sealed_json(path)
    durable.write_sealed_json(path, {**content, "schema": content["schema"] + 1, "invented": "later"})
    return path


@pytest.mark.parametrize(
    ("kind", "reader"),
    [
        pytest.param(kind, reader, marks=[pytest.mark.slow] if reader == "sync" else [])
        for kind in READERS
        for reader in READERS[kind][1]
    ],
)
def test_what_a_later_version_wrote_is_refused_and_left_as_it_is(
    root: ResultsDir, numbers: dict, kind: str, reader: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = newer_file(root, numbers, kind)
    before = path.read_bytes()
    assert run_command([word.format(READERS[kind][0]) for word in WORDS[reader]]) == 3
    told = capsys.readouterr().err
    assert f"{path.name} was written by a newer orch (schema 2, this one reads up to 1); update orch to read it" in told
    assert path.read_bytes() == before
