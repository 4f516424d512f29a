"""No space, no permission: exit code 3, one sentence with the path and what to do, nothing lost."""

from __future__ import annotations

import errno
import os
from collections import deque
from pathlib import Path

import pytest

from orchestrator import local_files
from orchestrator.cli import run_command
from orchestrator.results import ResultsDir
from tests.faults.crashing import TWO_TRIALS as TEXT
from tests.faults.crashing import in_child, leftovers, numbers_of, run_to_end
from tests.faults.test_crash_points import Walk, errors, reference, run_all


class Disk:
    """A disk that refuses every write from the n-th on."""

    def __init__(self, refuse_from: int, number: int) -> None:
        self.num_writes, self.refuse_from, self.number = 0, refuse_from, number

    def install(self) -> None:
        flush = os.fsync

        def fsync(descriptor: int) -> None:
            self.num_writes += 1
            if self.num_writes >= self.refuse_from:
                raise OSError(self.number, os.strerror(self.number))
            flush(descriptor)

        local_files.os.fsync = fsync  # type: ignore[assignment]


def run_command_line(folder: Path, refuse_from: int, number: int = errno.ENOSPC) -> None:
    """`orch run` in this process, which ends with its exit code."""
    Disk(refuse_from, number).install()
    os.chdir(folder)
    os._exit(run_command(["run", "tiny.yaml", "--executor", "serial"]))


def fill_and_free(folder: Path, expected: dict, refuse_from: int) -> Walk:
    folder.mkdir()
    (folder / "tiny.yaml").write_text(TEXT)
    code = yield in_child(lambda: run_command_line(folder, refuse_from), folder / "said")
    said = (folder / "said").read_text()
    assert code == 3, f"full at write {refuse_from}: {said}"
    (told,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "No space left on device; free some space there, then run the same command again" in told
    assert "Traceback" not in said
    results = ResultsDir(folder / "results")
    code = yield in_child(lambda: run_to_end(results, TEXT), folder / "again")
    assert code == 0, f"full at write {refuse_from}: {errors(folder)}"
    assert numbers_of(results, TEXT) == expected
    assert leftovers(results) == []


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_disk_that_is_full_at_any_write_ends_the_run_and_loses_nothing(tmp_path: Path, every: int) -> None:
    expected, num_writes = reference(ResultsDir(tmp_path / "whole"), tmp_path, TEXT)
    assert num_writes > 60
    run_all(deque(fill_and_free(tmp_path / f"full-{n}", expected, n) for n in range(1, num_writes - 2, every)))


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_root_that_cannot_be_written_starts_no_trial(tmp_path: Path, number: int) -> None:
    (tmp_path / "tiny.yaml").write_text(TEXT)
    assert in_child(lambda: run_command_line(tmp_path, 1, number), tmp_path / "said")() == 3
    said = (tmp_path / "said").read_text()
    assert f"{os.strerror(number)}; let this user write there, or name another folder with --results" in said
    assert "results/sweeps/tiny/runs" in said
    assert not list((tmp_path / "results").rglob("trial.json"))


def test_a_file_where_the_root_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TEXT)
    (tmp_path / "results").write_text("")
    assert in_child(lambda: run_command_line(tmp_path, 10**6), tmp_path / "said")() == 3
    assert "results" in (tmp_path / "said").read_text()
