from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from orchestrator import local_files
from orchestrator.processes import this_machine


def test_what_a_dead_process_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path: Path) -> None:
    dead = subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid(), end='')"], text=True)
    live = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = this_machine()
    mine = [f".tmp-a-{here}-{dead}-00", f".tmp-b-{here}-{os.getpid()}-00"]
    gone = [*mine, ".tmp-doctor", ".tmp-old-00000000-1-00"]
    kept = [f".tmp-c-{here}-{live.pid}-00", ".tmp-new-00000000-1-00", "kept"]
    for name in (*gone[:2], *gone[3:], *kept):
        (tmp_path / name).write_text("half")
    (tmp_path / gone[2]).mkdir()
    day_ago = time.time() - 2 * local_files.SECONDS_TO_KEEP_FOREIGN
    os.utime(tmp_path / gone[3], (day_ago, day_ago))
    local_files.remove_leftovers(tmp_path)
    live.communicate(b"\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_what_another_thread_writes_is_left_alone(tmp_path: Path) -> None:
    def tidy(file: IO[bytes]) -> None:
        file.write(b"whole")
        local_files.remove_leftovers(tmp_path)

    local_files.write(tmp_path / "a", tidy)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"whole")]


def test_a_name_that_is_taken_is_left_as_it_is(tmp_path: Path) -> None:
    assert local_files.create(tmp_path / "a", b"first")
    assert not local_files.create(tmp_path / "a", b"second")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"first")]


def test_without_hard_links_one_maker_wins_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    test_a_name_that_is_taken_is_left_as_it_is(tmp_path)


def test_a_line_that_finds_no_space_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    local_files.append_line(path, b"one")

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            local_files.append_line(path, b"two")
    assert path.read_bytes() == b"one\n"
    local_files.append_line(path, b"three")
    assert path.read_bytes() == b"one\nthree\n"
