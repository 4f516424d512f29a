"""Arrays or files in; 16 hex digits that change with their content, out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError

READ_WHOLE = 256 * 2**20
"""Bytes up to which every byte of a set of files is read."""
NUM_SAMPLED = 1024
SAMPLED_BYTES = 64 * 2**10


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of a dataset."""

    name: str
    """Relative to the dataset's root, with forward slashes."""
    num_bytes: int
    modified_ns: int


def fingerprint_arrays(*arrays: NDArray[Any]) -> str:
    """Of shapes, types and every value."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def fingerprint_files(root: Path, files: Sequence[FileFacts]) -> str:
    """Of the names and sizes of all files and of their content, not of where and when they were written.

    Up to 256 MiB in all, every byte counts. Beyond, the first and last 64 KiB of 1,024 files spread evenly over the
    sorted names do: all that a shard of Parquet says of itself stands there.

    Raises:
        DataError: a file cannot be read; the message names it.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name}\0{file.num_bytes}\n".encode())
    is_whole = sum(file.num_bytes for file in files) <= READ_WHOLE
    picked = range(len(files)) if is_whole else np.linspace(0, len(files) - 1, min(len(files), NUM_SAMPLED)).astype(int)
    for idx in picked:
        digest.update(_content(root / files[idx].name, is_whole))
    return digest.hexdigest()[:16]


def stamp_files(root: Path, files: Sequence[FileFacts]) -> str:
    """Of where the files lie, their names, sizes and times of change: the key of what was derived from them."""
    lines = [f"{file.name}\0{file.num_bytes}\0{file.modified_ns}" for file in files]
    return hashlib.sha256("\n".join([str(root.resolve()), *lines]).encode()).hexdigest()[:16]


def _content(path: Path, is_whole: bool) -> bytes:
    try:
        with path.open("rb") as file:
            if is_whole:
                return file.read()
            head = file.read(SAMPLED_BYTES)
            file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - SAMPLED_BYTES))
            return head + file.read()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
