"""`orch doctor` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import cli_doctor, durable, object_files
from orchestrator.cli import run_command
from orchestrator.errors import ResultsError
from orchestrator.tuning.doctor_check import mend, note, ok
from tests.s3_server import new_root, s3_server


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


def test_the_advice_for_a_root_nobody_may_write_stands_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: object) -> bool:
        raise ResultsError(f"cannot write {path}: Read-only file system{durable.OTHER_FOLDER}")

    monkeypatch.setattr(durable, "create_sealed_json", refuse)
    check = cli_doctor._root_checks(tmp_path)[0]
    assert f"{check.found} -> {check.advice}".count("name another folder with --results") == 1
    assert check.found.endswith("Read-only file system")


def test_a_root_on_a_store_is_asked_whether_an_object_is_created_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with s3_server():
        root = new_root()
        check = cli_doctor._root_checks(root)[0]
        assert (check.grade, check.found) == ("ok", f"{root} can be written, and a file is created once")
        assert list(root.iterdir()) == [], "nothing is left behind"
        monkeypatch.setattr(object_files, "create", _put_always)
        check = cli_doctor._root_checks(root)[0]
        assert (check.grade, check.advice) == ("MEND", "name a store that heeds If-None-Match")
        assert list(root.iterdir()) == []


def _put_always(path: Path, content: bytes) -> bool:
    """A store that does not know the condition."""
    object_files.write(path, lambda file: file.write(content))
    return True


def test_a_torchvision_for_another_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.training import device

    def fail() -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(device, "load_torchvision", fail)
    (check,) = cli_doctor._torch_checks()
    assert check.grade == "MEND"
    assert "RuntimeError: operator torchvision::nms does not exist" in check.found
