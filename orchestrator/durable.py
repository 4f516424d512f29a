"""The one place that writes: every file is complete under its name, or not there.

A results root may lie in a file system or on an object store; `local_files.py` and `object_files.py` do the writing and
this file says what is written: text, JSON, JSON sealed with a checksum of its content, lines, and folders sealed with a
manifest of checksums.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from orchestrator import local_files, object_files
from orchestrator.errors import LockedError, NewerFileError, ResultsError
from orchestrator.local_files import MANIFEST, TEMPORARY_PREFIX
from orchestrator.places import is_local
from orchestrator.sealing import seal_line, sealed, sha256, unseal_json, unseal_line

__all__ = ["MANIFEST", "TEMPORARY_PREFIX", "seal_line", "sha256", "unseal_json", "unseal_line"]

FREE_SPACE = "; free some space there, then run the same command again: every finished step is kept"
OTHER_FOLDER = "; let this user write there, or name another folder with --results"
ADVICE = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EROFS: OTHER_FOLDER,
    errno.EACCES: OTHER_FOLDER,
    errno.EPERM: OTHER_FOLDER,
}
"""What a person does next, by what the system answers."""


class _Files(Protocol):
    """What a kind of place can do; both modules do."""

    def write(self, path: Path, fill: Callable[[IO[bytes]], object]) -> None: ...
    def create(self, path: Path, content: bytes) -> bool: ...
    def append_line(self, path: Path, line: bytes) -> None: ...
    def commit_folder(self, path: Path, files: Mapping[str, bytes]) -> None: ...
    def remove_file(self, path: Path) -> None: ...
    def remove_folder(self, path: Path) -> None: ...
    def remove_leftovers(self, folder: Path) -> None: ...


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
    with _as_results_error("write", path):
        _files(path).write(path, fill)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """`write_text` of readable JSON; NaN and infinity are refused, because JSON has neither."""
    write_bytes(path, _json_bytes(content))


def write_sealed_json(path: Path, content: Mapping[str, Any]) -> None:
    """`write_json` with a checksum of the content beside it; `read_sealed_json` verifies it."""
    write_json(path, sealed(content))


def create_sealed_json(path: Path, content: Mapping[str, Any]) -> bool:
    """`write_sealed_json` where `path` is not there yet; False where it is. Of several at once, one makes it.

    Raises:
        ResultsError: the folder cannot be written.
    """
    with _as_results_error("write", path):
        return _files(path).create(path, _json_bytes(sealed(content)))


def read_bytes(path: Path) -> bytes | None:
    """The content of `path`, None where it is not there.

    Raises:
        ResultsError: it cannot be read.
    """
    try:
        with _as_results_error("read", path):
            return path.read_bytes()
    except ResultsError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            return None
        raise


def read_sealed_json(path: Path) -> dict[str, Any]:
    """What `write_sealed_json` wrote.

    Raises:
        ResultsError: the file is missing, cut short or altered; the message names it.
    """
    with _as_results_error("read", path):
        text = path.read_bytes()
    return unseal_json(path, text)


def read_document(path: Path, schema: int) -> dict[str, Any]:
    """`read_sealed_json` of what was written under `schema` or an earlier one.

    Raises:
        ResultsError: the file is missing, cut short or altered; the message names it.
        NewerFileError: it has a higher schema.
    """
    content = read_sealed_json(path)
    found = content.get("schema", 0)
    if found > schema:
        raise NewerFileError(path, found, schema)
    return content


def append_line(path: Path, line: str) -> None:
    """Append one line and flush it to disk; a torn line left by a crash is cut off first.

    Raises:
        ResultsError: the file cannot be written.
    """
    assert "\n" not in line
    with _as_results_error("write", path):
        _files(path).append_line(path, line.encode())


def commit_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make folder `path` with `files` and a manifest; whole, or not there. An existing one is replaced.

    Raises:
        ResultsError: the folder cannot be written.
    """
    with _as_results_error("write", path):
        _files(path).commit_folder(path, files)


def is_committed(path: Path) -> bool:
    """Whether folder `path` has its manifest."""
    return (path / MANIFEST).exists()


def read_folder(path: Path) -> dict[str, bytes]:
    """The files of a committed folder, each verified against the manifest.

    Raises:
        ResultsError: a file is missing or altered; the message names it.
    """
    try:
        with _as_results_error("read", path):
            manifest = json.loads((path / MANIFEST).read_bytes())
            files = {name: (path / name).read_bytes() for name in manifest}
    except (ResultsError, ValueError, TypeError) as error:
        raise ResultsError(f"{path} is damaged: {error}") from error
    for name, content in files.items():
        if sha256(content) != manifest[name]:
            raise ResultsError(f"{path / name} is damaged: its checksum does not match the manifest")
    return files


def remove_file(path: Path) -> None:
    """Remove a file if it is there.

    Raises:
        ResultsError: it cannot be removed.
    """
    with _as_results_error("remove", path):
        _files(path).remove_file(path)


def remove_folder(path: Path) -> None:
    """Remove a folder if it is there; nobody sees half of it.

    Raises:
        ResultsError: it cannot be removed.
    """
    with _as_results_error("remove", path):
        _files(path).remove_folder(path)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that a crash left in `folder` (not below it)."""
    with _as_results_error("remove", folder):
        _files(folder).remove_leftovers(folder)


@contextmanager
def hold(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` of this machine while the block runs; the system frees it when the process dies.

    What other machines may want too is held by a lease (`lease.py`).

    Args:
        what: the thing that is held, for the message.
        wait: wait for the other owner instead of raising.

    Raises:
        LockedError: another live process holds it.
        ResultsError: the lock file cannot be written.
    """
    with _as_results_error("write", path):
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


def _files(path: Path) -> _Files:
    return local_files if is_local(path) else object_files


def _json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


@contextmanager
def _as_results_error(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "")
        raise ResultsError(f"cannot {doing} {path}: {error.strerror or error}{advice}") from error
