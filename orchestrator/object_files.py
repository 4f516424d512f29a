"""Files of an object store: one is one PUT, so it is whole or not there, and nothing is ever renamed.

A folder is its files and then its manifest, so one without a manifest is not committed. `durable.py` is the door;
functions raise `UnreachableError` where the store does not answer.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, cast

from orchestrator.local_files import MANIFEST, manifest_of


def write(path: Path, fill: Callable[[IO[bytes]], object]) -> None:
    """Replace `path` by what `fill` writes to the open file it is given."""
    buffer = io.BytesIO()
    fill(buffer)
    _put(path, buffer.getvalue())


def create(path: Path, content: bytes) -> bool:
    """Make `path` where it is not there (`If-None-Match: *`); False where it is."""
    try:
        with _answered(path):
            _system(path).pipe_file(_key(path), content, mode="create")
    except FileExistsError:
        return False
    return True


def append_line(path: Path, line: bytes) -> None:
    """Write `path` anew with one more line."""
    before = path.read_bytes() if path.exists() else b""
    _put(path, before + line + b"\n")


def commit_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """PUT `files`, then the manifest that makes them a folder; what stood there before is uncommitted first."""
    remove_folder(path)
    for name, content in files.items():
        _put(path / name, content)
    _put(path / MANIFEST, manifest_of(files))


def remove_file(path: Path) -> None:
    """Remove `path` if it is there."""
    with _answered(path):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove the manifest, then the rest."""
    remove_file(path / MANIFEST)
    with _answered(path):
        system, key = _system(path), _key(path)
        if system.exists(key):
            system.rm(key, recursive=True)


def remove_leftovers(folder: Path) -> None:
    """Nothing: there are no temporary names."""


def _answered(path: Path) -> AbstractContextManager[None]:
    from orchestrator.object_path import answered

    return answered(path)


def _put(path: Path, content: bytes) -> None:
    with _answered(path):
        _system(path).pipe_file(_key(path), content)


def _system(path: Path) -> Any:
    return cast(Any, path).fs


def _key(path: Path) -> str:
    return str(cast(Any, path).path)
