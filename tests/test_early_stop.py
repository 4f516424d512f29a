"""Signals before a run has begun: the words, the exit code, and that an ignored signal stays ignored."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import early_stop
from orchestrator.cli import run_command

PLACE = "orchestrator.cli_run.load_spec"
"""What a run does before it has begun."""


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(early_stop._Heard, "number", signal.SIGINT)
    monkeypatch.setattr(early_stop._Heard, "has_begun", False)
    # Where tests run in the background, SIGINT and SIGHUP are ignored.
    before = {number: signal.signal(number, signal.SIG_DFL) for number in early_stop.NUMBERS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", early_stop.NUMBERS)
def test_a_signal_before_anything_has_begun_ends_with_the_command_to_run_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    monkeypatch.setattr(PLACE, lambda path: os.kill(os.getpid(), number))
    words = ["run", "my spec.yaml", "--executor", "serial"]
    early_stop.listen(words)
    assert run_command(words) == 128 + number
    assert (
        capsys.readouterr().err.lstrip() == "nothing has begun; run again: orch run 'my spec.yaml' --executor serial\n"
    )


def test_after_a_run_has_begun_it_is_gone_on_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin(path: Path) -> None:
        early_stop.begin()
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(PLACE, begin)
    early_stop.listen(["run", "x.yaml"])
    assert run_command(["run", "x.yaml"]) == 130
    assert capsys.readouterr().err.lstrip() == "stopped; go on with: orch run x.yaml\n"


def test_other_commands_keep_their_handlers_and_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    early_stop.listen(["status"])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    early_stop.listen(["resume", "s"])
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
