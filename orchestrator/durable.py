"""The one place that writes: every file is complete under its name, or not there.

A file is written under a temporary name, flushed to disk and renamed; a folder is filled under a temporary name,
sealed with a manifest of checksums and renamed. Lines are appended with a flush each, and a torn last line is cut off
before the next. Records carry a checksum of their own content.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from orchestrator.errors import LockedError, ResultsError

MANIFEST = "MANIFEST.json"
TEMPORARY_PREFIX = ".tmp-"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`, atomically and durably.

    Raises:
        ResultsError: the folder cannot be written.
    """
    write_with(path, lambda file: file.write(content))


def write_with(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Replace `path` by what `fill` writes to the open file it is given, atomically and durably.

    Raises:
        ResultsError: the folder cannot be written.
    """
    with _as_results_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(path)
        try:
            with temporary.open("wb") as file:
                fill(file)
                _sync(file)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """`write_text` of readable JSON; NaN and infinity are refused, because JSON has neither."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def write_sealed_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_json` with a checksum of the content beside it; `read_sealed_json` verifies it."""
    write_json(path, {**content, "sha256": _checksum_of(content)})


def read_sealed_json(path: Path) -> dict[str, Any]:
    """What `write_sealed_json` wrote.

    Raises:
        ResultsError: the file is missing, cut short or altered; the message names it.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ResultsError(f"{path} is damaged: it is not complete JSON") from error
    if not isinstance(content, dict) or content.pop("sha256", None) != _checksum_of(content):
        raise ResultsError(f"{path} is damaged: its checksum does not match its content")
    return content


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to disk; a torn line left by a crash is cut off first.

    Raises:
        ResultsError: the file cannot be written.
    """
    assert "\n" not in line
    with _as_results_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("r+b" if not is_new else "wb") as file:
            file.truncate(_end_of_last_line(file))
            file.seek(0, os.SEEK_END)
            file.write(line.encode() + b"\n")
            _sync(file)
        if is_new:
            _sync_folder(path.parent)


def commit_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make folder `path` with `files` and a manifest; visible only when complete. An existing one is replaced.

    Raises:
        ResultsError: the folder cannot be written.
    """
    with _as_results_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary_beside(path)
        try:
            temporary.mkdir()
            for name, content in files.items():
                _write_and_sync(temporary / name, content)
            manifest = {name: sha256(content) for name, content in files.items()}
            _write_and_sync(temporary / MANIFEST, json.dumps(manifest, indent=2).encode())
            _sync_folder(temporary)
            if path.exists():
                remove_folder(path)
            os.rename(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync_folder(path.parent)


def read_folder(path: Path) -> dict[str, bytes]:
    """The files of a committed folder, each verified against the manifest.

    Raises:
        ResultsError: a file is missing or altered; the message names it.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        files = {name: (path / name).read_bytes() for name in manifest}
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path} is damaged: {error}") from error
    for name, content in files.items():
        if sha256(content) != manifest[name]:
            raise ResultsError(f"{path / name} is damaged: its checksum does not match the manifest")
    return files


def remove_folder(path: Path) -> None:
    """Remove a folder; it leaves its name first, so nobody sees half of it."""
    doomed = _temporary_beside(path)
    try:
        os.rename(path, doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that a crash left in `folder` (not below it)."""
    for path in folder.glob(TEMPORARY_PREFIX + "*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def hold(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; the system frees it when the process dies.

    The file names its owner (host, process, start time), so others can say who holds it.

    Args:
        what: the thing that is held, for the message.
        wait: wait for the other owner instead of raising.

    Raises:
        LockedError: another live process holds it.
        ResultsError: the lock file cannot be written.
    """
    with _as_results_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            file.seek(0)
            raise LockedError(what, file.read().strip() or "owner unknown") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def is_held(path: Path) -> bool:
    """Whether a live process holds the lock file `path`; writes nothing."""
    try:
        file = path.open("rb")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def sha256(content: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def _checksum_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode())


def _temporary_beside(path: Path) -> Path:
    return path.parent / f"{TEMPORARY_PREFIX}{path.name[:80]}-{os.getpid()}-{os.urandom(4).hex()}"


def _write_and_sync(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        _sync(file)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end_of_last_line(file: Any) -> int:
    """Offset just behind the last newline, 0 if there is none; reads backwards in blocks."""
    position = file.seek(0, os.SEEK_END)
    while position > 0:
        start = max(0, position - 4096)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            return int(start + newline + 1)
        position = start
    return 0


@contextmanager
def _as_results_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror or error}") from error
