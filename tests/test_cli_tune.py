"""A sweep with `tune:` on the command line: planned, searched, measured, shown; training itself takes no time."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from orchestrator.cli import run_command
from orchestrator.tuning import serial
from tests.tuning import searches
from tests.tuning.searches import TPE

RUN = ("run", "tuned.yaml", "--executor", "serial")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serial, "execute", searches.execute)
    (tmp_path / "tuned.yaml").write_text(TPE)
    return tmp_path


def run(*words: str) -> int:
    return run_command(list(words))


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    """The one JSON document that a command prints."""
    capsys.readouterr()
    assert run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_plan_run_status_and_a_second_run_agree(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = told(capsys, "plan", "tuned.yaml")
    assert (before["num_trials"], before["num_to_run"], before["num_search_trials"]) == (4, 4, 12)
    assert {cell["standing"] for cell in before["cells"]} == {"after search"}
    assert run(*RUN, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["event"] for line in lines} == {
        "start", "grow", "phase", "trial_started", "trial_ended", "summary"
    }  # fmt: skip
    start, summary = lines[0], lines[-1]
    assert (start["num_trials"], start["num_search_trials"], start["num_to_run"]) == (4, 12, 4)
    counts = ("num_finished", "num_reused", "num_failed", "num_diverged", "num_unfinished")
    assert [summary[name] for name in ("num_trials", *counts)] == [4, 4, 0, 0, 0, 0]
    assert summary["search"]["num_trials"] == summary["search"]["num_finished"] == 12
    status = told(capsys, "status", "tuned")
    assert (status["num_trials"], status["states"]) == (4, {"COMPLETE": 4})
    assert status["search"] == {"num_trials": 12, "states": {"COMPLETE": 12}}
    phases = [trial["phase"] for trial in status["trials"]]
    assert (phases.count("tune"), phases.count("measure")) == (12, 4)
    assert {trial["test_acc"] for trial in status["trials"] if trial["phase"] == "tune"} == {None}
    after = told(capsys, "plan", "tuned.yaml")
    assert (after["num_to_run"], after["num_search_to_run"]) == (0, 0)
    assert all(cell["search"]["chosen"] for cell in after["cells"])
    assert run("resume", "tuned", "--executor", "serial") == 0
    assert "4 of 4 trials finished, 4 of them before this run" in capsys.readouterr().err


def test_people_are_told_of_the_search_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "tuned.yaml") == 0
    plan = capsys.readouterr().out
    assert "tuned: 12 search trials, 12 to run; a measured trial has no id before its cell's search is over" in plan
    assert run(*RUN) == 0
    assert "search: 12 of 12 search trials finished; 2 cells chosen for" in capsys.readouterr().err
    assert run("status", "tuned") == 0
    status = capsys.readouterr().out
    assert "tune 5" in status
    assert "tuned: 4 COMPLETE; search: 12 COMPLETE" in status
    assert run("status") == 0
    assert capsys.readouterr().out.strip() == "tuned: 4 COMPLETE; search: 12 COMPLETE"
    assert run("plan", "tuned.yaml") == 0
    assert "lr 0." in capsys.readouterr().out


def test_a_stopped_search_is_shown_and_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(trials, settings):
        for number, event in enumerate(searches.execute(trials, settings)):
            yield event
            if number == 3:
                signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(serial, "execute", stopping)
    assert run(*RUN, "--json") == 143
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["num_trials"], summary["num_unfinished"], summary["search"]["num_finished"]) == (4, 4, 2)
    status = told(capsys, "status", "tuned")
    assert (status["num_trials"], status["states"]) == (4, {"WAITING": 4})
    assert status["search"] == {"num_trials": 12, "states": {"COMPLETE": 2, "WAITING": 10}}
    monkeypatch.setattr(serial, "execute", searches.execute)
    assert run(*RUN) == 0


def test_a_very_large_search_is_not_started_unasked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tuned.yaml").write_text(TPE.replace("num_trials: 6", "num_trials: 600"))
    assert run(*RUN) == 2
    assert "asks for up to 1,204 trials" in capsys.readouterr().err
    assert not (folder / "results").exists()
