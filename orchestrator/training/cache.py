"""What was derived from a dataset, kept beside it: decoded pixels and encoded images, keyed by the state of the files.

The folder is `ORCH_CACHE`, else `orch` below `XDG_CACHE_HOME`, else `~/.cache/orch`. All of it can be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from orchestrator import durable
from orchestrator.errors import DataError, ResultsError
from orchestrator.places import cache_folder
from orchestrator.training.images import Images, PixelImages, decode_if_small

WORTH_KEEPING = 5_000
"""Images from which on decoding takes a second or more."""


@contextmanager
def exclusive(name: str) -> Iterator[Path]:
    """The path `name` in the cache folder, while no other process of this machine works on it; waits for them.

    Raises:
        DataError: the cache folder cannot be written.
    """
    path = cache_folder() / name
    try:
        with durable.hold(path.with_name(path.name + ".lock"), str(path), wait=True):
            yield path
    except ResultsError as error:
        raise DataError(f"{error}; set ORCH_CACHE to a folder that can be written") from error


def decoded(num_images: int, key: str, read: Callable[[], Images]) -> PixelImages | None:
    """What `decode_if_small` makes of the images that `read` gives, done once for each `key` if they are many.

    Raises:
        DataError: an image cannot be read, or the cache folder cannot be written.
    """
    if num_images < WORTH_KEEPING:
        return decode_if_small(read())
    with exclusive(f"decoded/{key}") as folder:
        if folder.is_dir():
            return _read_pixels(folder)
        pixels = decode_if_small(read())
        if pixels is not None:
            content = {"shape": list(pixels.pixels_NCHW.shape)}
            files = {"pixels": pixels.pixels_NCHW.tobytes(), "content.json": json.dumps(content).encode()}
            durable.commit_folder(folder, files)
        return pixels


def written(name: str, write: Callable[[Path], None]) -> Path:
    """The file `name` in the cache folder; `write` makes it where it is not there yet.

    Raises:
        DataError: the cache folder cannot be written.
    """
    with exclusive(name) as path:
        if not path.exists():
            write(path)
    return path


def _read_pixels(folder: Path) -> PixelImages:
    """The pixels, verified against their checksum."""
    try:
        files = durable.read_folder(folder)
    except ResultsError as error:
        raise DataError(f"{error}; delete {folder}, it will be made again") from error
    shape = json.loads(files["content.json"])["shape"]
    return PixelImages(np.frombuffer(files["pixels"], np.uint8).reshape(shape).copy())  # torch asks for a writable one
