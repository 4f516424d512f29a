"""`orch doctor` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import cli_doctor
from orchestrator.cli import run_command
from orchestrator.tuning.doctor_check import mend, note, ok


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_looks_at_this_machine_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command(["doctor", "--json"])
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert code == (0 if all(check["is_ok"] for check in checks.values()) else 3)
    assert {"python", "ray", "torch and torchvision", "GPUs", "memory", "file handles", "Ray token"} <= set(checks)
    assert {"results", "disk", "file system", "clock"} <= set(checks)
    assert checks["torch"]["grade"] == "ok"
    assert not (tmp_path / "results").exists()
    (tmp_path / "results").mkdir()
    run_command(["doctor", "--json"])
    assert list((tmp_path / "results").iterdir()) == []


def test_what_must_be_mended_decides_the_exit_code_and_stands_with_its_advice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [ok("a", "1"), note("b", "2", "read"), mend("c", "3", "repair")]
    monkeypatch.setattr(cli_doctor, "_install_checks", lambda: found[:2])
    monkeypatch.setattr(cli_doctor, "_machine_checks", list)
    monkeypatch.setattr(cli_doctor, "_root_checks", lambda results: [])
    assert run_command(["doctor"]) == 0
    assert capsys.readouterr().out == "ok   a: 1\nnote b: 2  -> read\n"
    monkeypatch.setattr(cli_doctor, "_machine_checks", lambda: found[2:])
    assert run_command(["doctor"]) == 3
    assert "MEND c: 3  -> repair" in capsys.readouterr().out


def test_a_root_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    (check,) = cli_doctor._root_checks(tmp_path / "results")
    assert (check.grade, "is a file" in check.found) == ("MEND", True)


def test_a_torchvision_for_another_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.training import device

    def fail() -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(device, "load_torchvision", fail)
    (check,) = cli_doctor._torch_checks()
    assert check.grade == "MEND"
    assert "RuntimeError: operator torchvision::nms does not exist" in check.found
