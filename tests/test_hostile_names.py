"""Whatever stands where a command takes a name: exit code 2 or 3, one sentence, nothing written anywhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from orchestrator.cli import cli, run_command
from orchestrator.errors import OrchestratorError
from orchestrator.places import results_root
from orchestrator.results import ResultsDir
from tests.views.sweep_builder import build_sweep

NAMED = {"sweep", "trial", "a", "b"}


def takes_a_name(command: click.Command) -> bool:
    return any(isinstance(p, click.Argument) and p.name in NAMED for p in command.params)


TAKING_NAMES = sorted(name for name, command in cli.commands.items() if takes_a_name(command))

PARTS = (
    "..",
    ".",
    "/",
    "\\",
    ":",
    "~",
    "*",
    "\n",
    "\r",
    "\t",
    " ",
    "\0",
    "$(id)",
    "%00",
    "é",
    "\u202e",
    "\ud800",
    "s3://",
)
pieces = st.lists(st.sampled_from(PARTS) | st.text(st.characters(), max_size=8), min_size=1, max_size=8).map("".join)
names = pieces | st.sampled_from(["a" * 256, "a" * 5000, "a/" * 3000, "/etc/passwd", "../../../../etc"]) | st.just("")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder commands run in, with a sweep in it and a file beside it that no name may reach."""
    folder = tmp_path_factory.mktemp("named")
    work = folder / "work"
    build_sweep(work / "results", {"depth": [2]}, seeds=1, name="kept")
    build_sweep(folder / "outside" / "results", {"depth": [2]}, seeds=1, name="private")
    (folder / "outside" / "secret.txt").write_text("private")
    before = Path.cwd()
    os.chdir(work)
    yield folder
    os.chdir(before)
    shutil.rmtree(folder, ignore_errors=True)


def everything_in(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def words_for(command: str, name: str) -> list[str]:
    arguments = [p for p in cli.commands[command].params if isinstance(p, click.Argument)]
    return [command, *(["--"] if name.startswith("-") else []), *[name] * len(arguments)]


def refuse(words: list[str], root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command ends with 2 or 3 and one sentence, and leaves everything as it was."""
    before = everything_in(root)
    code = run_command(words)
    said = capfd.readouterr()
    assert code in (2, 3), (words, code, said.err)
    assert "Traceback" not in said.err
    assert "bug in orch" not in said.err
    assert said.err.strip()
    assert len(said.err) < 2000
    assert said.out == ""
    assert everything_in(root) == before


def test_every_command_that_takes_a_name_is_known() -> None:
    assert {"resume", "status", "logs", "report", "compare", "export", "sync"} <= set(TAKING_NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("command", TAKING_NAMES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names)
@example("..")
@example("../outside/results:../private")
@example("results:../../outside/results/sweeps/private")
@example("kept/../../sweeps/kept")
@example("a\0b")
@example("a\0b:kept")
@example("\ud800")
@example("a" * 300 + ":kept")
@example("kept\n")
def test_a_hostile_name_is_refused_in_one_sentence(
    command: str, root: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    refuse(words_for(command, name), root, capfd)


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("name", ["..", "/etc", "a\0b", "\ud800", "a" * 300, "a/" * 3000, "~", "\n"])
def test_a_hostile_path_of_a_spec_is_refused_in_one_sentence(
    command: str, name: str, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refuse([command, name], root, capfd)


@given(names)
def test_no_name_of_a_sweep_leaves_the_root(name: str) -> None:
    folder = Path("/data/results")
    try:
        path = ResultsDir(folder).sweep(name).path
    except OrchestratorError:
        return
    assert path.parent == folder / "sweeps"
    assert os.path.normpath(path) == str(path)
    assert len(path.name.encode()) <= 80


@given(names)
def test_no_root_is_a_bug(name: str) -> None:
    try:
        results_root(name)
    except OrchestratorError as error:
        assert str(error)  # noqa: PT017  either outcome is legal
