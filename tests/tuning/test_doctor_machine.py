from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator import durable
from orchestrator.errors import ResultsError
from orchestrator.tuning import doctor_machine
from orchestrator.tuning.doctor_machine import (
    GIB,
    check_clock,
    check_disk,
    check_file_handles,
    check_files,
    check_filesystem,
    check_memory,
    check_processes,
    check_root,
    check_shared_memory,
    check_token,
    memory_limit,
    token_file,
    written_now,
)

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("check", "grade", "words"),
    [
        (check_disk(3 * GIB, Path("r")), "ok", "3.0 GiB free for r"),
        (check_disk(GIB, Path("r")), "MEND", "1.0 GiB free for r"),
        (check_files(None), "ok", "does not count them"),
        (check_files(9), "MEND", "9 more fit"),
        (check_files(10**6), "ok", "1,000,000 more fit"),
        (check_file_handles(256), "MEND", "at most 256"),
        (check_file_handles(None), "ok", "no limit"),
        (check_processes(100), "MEND", "at most 100"),
        (check_processes(10**5), "ok", "at most 100,000"),
        (check_shared_memory(64 * 2**20), "note", "64 MiB free"),
        (check_shared_memory(GIB), "ok", "1024 MiB free"),
        (check_shared_memory(None), "ok", "no /dev/shm"),
        (check_memory(64 * GIB, None), "ok", "64.0 GiB"),
        (check_memory(64 * GIB, 2 * GIB), "note", "2.0 GiB (a limit of the container)"),
        (check_memory(2 * GIB, 2**63), "note", "2.0 GiB"),
        (check_filesystem("ext4"), "ok", "ext4"),
        (check_filesystem("nfs4"), "note", "nfs4, which machines share"),
        (check_filesystem(None), "ok", "unknown"),
        (check_clock(0.0, None), "note", "1970-01-01"),
        (check_clock(NOW, NOW - 5), "ok", "2027-01-15"),
        (check_clock(NOW, NOW + 120), "note", "120 s from that of the results folder"),
    ],
)
def test_each_finding_has_its_grade(check, grade: str, words: str) -> None:
    assert check.grade == grade
    assert words in check.found
    assert (check.advice == "") == (grade == "ok")


def test_a_root_that_can_be_written_creates_a_file_once_and_is_left_as_it_was(tmp_path: Path) -> None:
    assert check_root(tmp_path).found.endswith("a file is created once")
    assert check_root(tmp_path / "none").found.endswith("is made by the first run")
    assert list(tmp_path.iterdir()) == []


def test_a_root_whose_file_system_creates_twice_or_not_at_all_must_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "create_sealed_json", lambda path, content: True)
    assert "lets two processes create one file" in check_root(tmp_path).found

    def refuse(path: Path, content: object) -> bool:
        raise ResultsError("cannot write it: Read-only file system")

    monkeypatch.setattr(durable, "create_sealed_json", refuse)
    check = check_root(tmp_path)
    assert (check.grade, check.found) == ("MEND", "cannot write it: Read-only file system")


def test_the_clock_of_the_roots_machine_is_read_from_a_file(tmp_path: Path) -> None:
    found = written_now(tmp_path)
    assert found is not None
    assert abs(found - time.time()) < 600
    assert written_now(tmp_path / "none") is None
    assert list(tmp_path.iterdir()) == []


def test_a_token_that_others_can_read_must_be_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    assert check_token(path).grade == "ok"
    path.write_text("secret")
    path.chmod(0o644)
    check = check_token(path)
    assert (check.grade, "0644" in check.found, check.advice) == ("MEND", True, f"chmod 600 {path}")
    assert "secret" not in check.found
    path.chmod(0o600)
    assert check_token(path).grade == "ok"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert token_file() == path
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    assert token_file() == Path.home() / ".ray" / "auth_token"


def test_the_limit_of_a_container_is_read_in_both_versions_of_cgroups(tmp_path: Path) -> None:
    new, old = tmp_path / "memory.max", tmp_path / "limit_in_bytes"
    assert memory_limit((new, old)) is None
    old.write_text("123\n")
    assert memory_limit((new, old)) == 123
    new.write_text("max\n")
    assert memory_limit((new,)) is None
    new.write_text("456\n")
    assert memory_limit((new, old)) == 456
    assert doctor_machine.CGROUP_LIMITS[0].name == "memory.max"
