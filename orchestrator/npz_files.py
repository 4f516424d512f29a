"""Arrays in, the bytes of an npz file out, and back; nothing in it is ever a pickle.

The text that describes an array takes most of the time of `np.load`, and is the same in thousands of trials, so here it
is read once.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LENGTH_AT = slice(8, 10)
"""Where a member says how long its description is."""


def npz_bytes(arrays: Mapping[str, Any]) -> bytes:
    """A compressed npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_npz(content: bytes) -> dict[str, Array]:
    """The arrays of `npz_bytes`.

    Raises:
        ValueError: the bytes are damaged, or hold Python objects.
    """
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                found[name.removesuffix(".npy")] = _read_array(archive.read(name))
    except Exception as error:  # of damaged bytes zipfile raises whatever its parts do: zlib, bz2, struct, and others
        raise ValueError(f"no sound npz file: {error}") from error
    return found


def _read_array(member: bytes) -> Array:
    start = 10 + int.from_bytes(member[LENGTH_AT], "little")
    shape, is_fortran, dtype = _read_description(member[:start])
    return np.frombuffer(member, dtype, offset=start).reshape(shape, order="F" if is_fortran else "C").copy()


@lru_cache(maxsize=256)
def _read_description(start: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    stream = io.BytesIO(start)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("not an array of version 1.0")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("Python objects are not read")
    return shape, is_fortran, dtype
