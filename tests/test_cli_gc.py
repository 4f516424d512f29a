"""`orch gc` as a person meets it, and what still works after it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.cli import run_command
from orchestrator.results import ResultsDir
from tests.trained_sweep import TEXT, train_sweep


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ResultsDir:
    return train_sweep(tmp_path_factory.mktemp("trained") / "results")


@pytest.fixture
def copy(trained: ResultsDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultsDir:
    """The trained root and its spec, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TEXT)
    return ResultsDir(shutil.copytree(trained.root, tmp_path / "results"))


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert run_command(list(words)) == code
    return capsys.readouterr().out


def test_it_is_dry_unless_told(copy: ResultsDir, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(copy.root.rglob("*"))
    out = printed(capsys, "gc", "--weights", "none")
    assert "weights" in out
    assert "nothing was removed, --yes removes it" in out
    told = json.loads(printed(capsys, "gc", "tiny", "--weights", "none", "--json"))
    assert (told["freed"], told["categories"]["weights"]["num"]) == (False, 4)
    assert told["bytes"] == sum(total["bytes"] for total in told["categories"].values()) > 0
    assert sorted(copy.root.rglob("*")) == before


@pytest.mark.slow
def test_after_it_everything_but_the_weights_is_there(copy: ResultsDir, capsys: pytest.CaptureFixture[str]) -> None:
    before = printed(capsys, "export", "tiny", "--format", "csv", "--output", "-")
    compared = printed(capsys, "compare", "tiny", "tiny", "--json")
    assert "freed" in printed(capsys, "gc", "--weights", "none", "--logs", "newest", "--yes")
    assert list(copy.root.rglob("*.safetensors")) == []
    assert printed(capsys, "export", "tiny", "--format", "csv", "--output", "-") == before
    assert printed(capsys, "compare", "tiny", "tiny", "--json") == compared
    summary = printed(capsys, "run", "tiny.yaml", "--executor", "serial", "--json").splitlines()[-1]
    assert json.loads(summary)["num_reused"] == 4
    verified = printed(capsys, "verify", "tiny", "-k", "1")
    assert "4 of them without final weights" in verified
    assert "1 bit-equal" in verified


def test_orphans_are_of_the_root(copy: ResultsDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["gc", "tiny", "--orphans", "none"]) == 2
    assert "leave the sweep's name out" in capsys.readouterr().err
