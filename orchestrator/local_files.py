"""Files of a file system, each complete under its name or not there: temporary name, flush, rename.

`durable.py` is the door; functions raise `OSError`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from orchestrator.processes import is_running, this_machine

MANIFEST = "MANIFEST.json"
TEMPORARY_PREFIX = ".tmp-"
WITHOUT_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems answer that have no hard links."""
SECONDS_TO_KEEP_FOREIGN = 24 * 3600.0
"""A temporary file of another machine may be in use; after a day it is not."""
_in_use: set[str] = set()
"""The temporary names that threads of this process are at."""


def write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Replace `path` by what `fill` writes to the open file it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_beside(path) as temporary:
        _write_and_sync(temporary, fill)
        os.replace(temporary, path)
    _sync_folder(path.parent)


def create(path: Path, content: bytes) -> bool:
    """Make `path` where it is not there; False where it is. Of several at once, one makes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _temporary_beside(path) as temporary:
            _write_and_sync(temporary, partial(_write_to, content))
            _link(temporary, path, content)
    except FileExistsError:
        return False
    _sync_folder(path.parent)
    return True


def _link(temporary: Path, path: Path, content: bytes) -> None:
    """Give `temporary` the name `path` too, which fails where that is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in WITHOUT_HARD_LINKS:
            raise
        with path.open("xb") as file:  # for a moment seen half written, which readers take for damaged
            file.write(content)
            _sync(file)


def append_line(path: Path, line: bytes) -> None:
    """Append one line; a torn line that a crash left is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists()
    with path.open("wb" if is_new else "r+b") as file:
        end = _end_of_last_line(file)
        file.truncate(end)
        file.seek(end)
        try:
            file.write(line + b"\n")
            _sync(file)
        except OSError:
            file.truncate(end)
            raise
    if is_new:
        _sync_folder(path.parent)


def commit_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Make folder `path` with `files` and a manifest; visible only when complete. An existing one is replaced.

    Checksums, a third of the time where files are large, are computed while the disk works.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_beside(path) as temporary, ThreadPoolExecutor(1) as beside:
        temporary.mkdir()
        manifest = beside.submit(manifest_of, files)
        for name, content in files.items():
            _write_and_sync(temporary / name, partial(_write_to, content))
        _write_and_sync(temporary / MANIFEST, partial(_write_to, manifest.result()))
        _sync_folder(temporary)
        if path.exists():
            remove_folder(path)
        os.rename(temporary, path)
    _sync_folder(path.parent)


def remove_file(path: Path) -> None:
    """Remove `path` if it is there."""
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder if it is there; it leaves its name first, so nobody sees half of it."""
    with _temporary_beside(path) as doomed, suppress(FileNotFoundError):
        os.rename(path, doomed)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders in `folder` (not below it) whose makers are gone."""
    for path in folder.glob(TEMPORARY_PREFIX + "*"):
        if not may_be_in_use(path):
            _remove(path)


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The content of `MANIFEST.json`: a sha256 a file."""
    return json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in files.items()}, indent=2).encode()


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """A free name beside `path`; what stands under it at the end of the block is removed."""
    maker = f"{this_machine()}-{os.getpid()}-{os.urandom(4).hex()}"
    temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name[:80]}-{maker}"
    _in_use.add(temporary.name)
    try:
        yield temporary
    finally:
        _remove(temporary)
        _in_use.discard(temporary.name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def may_be_in_use(path: Path) -> bool:
    """Whether the process that made a temporary file may still be at it."""
    parts = path.name.rsplit("-", 3)
    if len(parts) < 4 or not parts[2].isdecimal():
        return False
    if parts[1] == this_machine():
        return path.name in _in_use if int(parts[2]) == os.getpid() else is_running(int(parts[2]))
    try:
        return time.time() - path.stat().st_mtime < SECONDS_TO_KEEP_FOREIGN
    except OSError:
        return False


def _write_and_sync(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    with path.open("wb") as file:
        fill(file)
        _sync(file)


def _write_to(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


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
