"""The guide from a laptop to 64 GPUs is carried out, on a CPU and with stand-ins for the programs of clusters."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from orchestrator.cli import cli
from tests.deploy.cluster_shell import write_program
from tests.markdown_pages import ROOT, commands, forget_modules_of, read_blocks, run_page

PAGE = (ROOT / "docs/guides/clusters.md").read_text()
PROGRAMS = ("docker", "kubectl", "ray", "sbatch")
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$SAID"
for word; do
    case $word in
        */*.yaml | */*.sh | */Dockerfile) test -f "${word##*=}" || { echo "there is no $word" >&2; exit 1; } ;;
    esac
done
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The root of a checkout, a home, and the programs of clusters."""
    for name in ("deploy", "experiments"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in PROGRAMS:
        write_program(tmp_path / "bin" / name, STAND_IN)
    (tmp_path / "home").mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "results").symlink_to(tmp_path / "results")  # the folder that all nodes see
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    forget_modules_of(tmp_path)


def on_a_cpu(page: str) -> str:
    """The page with specs that train here, one trial after the other."""
    page = re.sub(r"gpus: [0-9.]+", "gpus: 0", page)
    page = page.replace("data: {name: digits}\n", "data: {name: digits}\ntracking: {mlflow: false}\n")
    page = re.sub(r"workers: [0-9]+", "cpus: 1", page)
    page = page.replace("epochs: 2", "epochs: 1")
    page = page.replace("orch doctor\n", "")
    return re.sub(r"^(orch run .*)$", r"\1 --executor serial", page, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_guide_to_clusters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []

    def printed() -> str:
        captured = capsys.readouterr()
        said.append(captured.out + captured.err)
        return said[-1]

    run_page(on_a_cpu(PAGE), folder, printed)
    runs = re.findall(r"depths: (\d+) of (\d+) trials finished(?:, (\d+) of them before)?", "".join(said))
    assert runs == [("6", "6", ""), ("8", "8", "6"), ("8", "8", "8"), ("8", "8", "8")]
    token = folder / "home/.ray/auth_token"
    assert re.fullmatch("[0-9a-f]{64}", token.read_text())
    assert token.stat().st_mode & 0o777 == 0o600
    called = {line.split()[0] for line in (folder / "said").read_text().splitlines()}
    assert called == set(PROGRAMS)


def shown_lines() -> list[str]:
    """Command lines of the page and of the comments in the files of deploy/."""
    lines = [line for block in read_blocks(PAGE) if block.language == "bash" for line in commands(block)]
    for file in (ROOT / "deploy").iterdir():
        lines += re.findall(r"^#   (.*)$", file.read_text().replace("\\\n#  ", " "), re.MULTILINE)
    return lines


def wrong_options(group: click.Group, program: str, line: str) -> list[str]:
    """Commands and options of `program` in a command line that it does not have; programs in quotes too."""
    wrong = []
    for part in re.split(r"&&|\||'", line):
        words = shlex.split(part, comments=True)
        words = words[next((n for n, word in enumerate(words) if "=" not in word), len(words)) :]
        if words[:1] != [program]:
            continue
        command = group.commands.get(words[1])
        options = {option for param in command.params for option in param.opts} if command else set()
        wrong += [word for word in words[2:] if word.startswith("--") and word.split("=")[0] not in options]
        wrong += [] if command else [words[1]]
    return wrong


def test_every_command_of_orch_and_of_ray_is_one_they_have() -> None:
    from ray.scripts.scripts import cli as ray_cli

    lines = shown_lines()
    assert sum("orch run" in line for line in lines) >= 5
    assert sum("ray up" in line for line in lines) >= 2
    assert [line for line in lines if wrong_options(cli, "orch", line) or wrong_options(ray_cli, "ray", line)] == []


def test_the_guard_of_commands_can_fail() -> None:
    assert wrong_options(cli, "orch", "ray exec x --tmux 'cd orch && orch run a.yaml --fast'") == ["--fast"]
    assert wrong_options(cli, "orch", "A=b orch train a.yaml") == ["train"]
    assert wrong_options(cli, "orch", "orch run a.yaml --address auto  # --fast") == []
