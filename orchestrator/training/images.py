"""Where the images of a split are kept: rows in; PIL images, or one uint8 array of all pixels, out.

Torch is not imported here: a process that only looks whether a dataset is sound should not wait for it.
Shape suffixes: N images, C channels, H height, W width.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from orchestrator.catalog import SMALL_SIDE
from orchestrator.errors import DataError

Mode = Literal["L", "RGB"]

LARGEST_IN_MEMORY = 4 * 2**30
"""Bytes of decoded pixels beyond which small images too are decoded at each access."""


class Images(Protocol):
    """A sequence of images that may live in memory or on disk."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Image.Image:
        """One image in mode L or RGB.

        Raises:
            DataError: the image cannot be read; the message names it.
        """
        ...

    def take(self, rows: NDArray[np.int64]) -> Images:
        """The images of `rows`, in that order."""
        ...

    def name_of(self, row: int) -> str:
        """What a person looks for to find the image."""
        ...


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, row by row."""

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Split:
        """The split of `rows`, in that order."""
        return Split(self.images.take(rows), self.labels[rows])


@dataclass(frozen=True, eq=False)
class PixelImages:
    """Small images of one size, decoded, in memory."""

    pixels_NCHW: NDArray[np.uint8]
    """C is 1 or 3."""

    def __len__(self) -> int:
        return len(self.pixels_NCHW)

    def __getitem__(self, row: int) -> Image.Image:
        pixels_HWC = np.ascontiguousarray(self.pixels_NCHW[row].transpose(1, 2, 0))
        return Image.fromarray(pixels_HWC[:, :, 0] if pixels_HWC.shape[2] == 1 else pixels_HWC)

    def take(self, rows: NDArray[np.int64]) -> PixelImages:
        return PixelImages(self.pixels_NCHW[rows])

    def name_of(self, row: int) -> str:
        return f"image {row}"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels_NCHW.shape[2], self.pixels_NCHW.shape[3]


@dataclass(frozen=True, eq=False)
class FileImages:
    """One file an image, decoded at each access."""

    folder: Path
    paths: Sequence[str]
    """Below `folder`."""
    mode: Mode

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Image.Image:
        return decode(self.folder / self.paths[row], self.mode, self.name_of(row))

    def take(self, rows: NDArray[np.int64]) -> FileImages:
        return FileImages(self.folder, [self.paths[row] for row in rows], self.mode)

    def name_of(self, row: int) -> str:
        return str(self.folder / self.paths[row])


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Encoded images in memory, decoded at each access."""

    blobs: Sequence[bytes]
    names: Sequence[str]
    mode: Mode

    def __len__(self) -> int:
        return len(self.blobs)

    def __getitem__(self, row: int) -> Image.Image:
        return decode(io.BytesIO(self.blobs[row]), self.mode, self.names[row])

    def take(self, rows: NDArray[np.int64]) -> EncodedImages:
        return EncodedImages([self.blobs[row] for row in rows], [self.names[row] for row in rows], self.mode)

    def name_of(self, row: int) -> str:
        return self.names[row]


@dataclass(frozen=True, eq=False)
class ArrowImages:
    """Encoded images in one Arrow file that is mapped into memory, decoded at each access."""

    file: Path
    """Columns `bytes` and `name`, in record batches of any length."""
    rows: NDArray[np.int64]
    mode: Mode

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Image.Image:
        batch, offset = self._find(row)
        return decode(io.BytesIO(batch.column("bytes")[offset].as_buffer()), self.mode, self.name_of(row))

    def take(self, rows: NDArray[np.int64]) -> ArrowImages:
        return ArrowImages(self.file, self.rows[rows], self.mode)

    def name_of(self, row: int) -> str:
        batch, offset = self._find(row)
        return str(batch.column("name")[offset].as_py())

    def _find(self, row: int) -> tuple[pa.RecordBatch, int]:
        reader, starts = _open_arrow(self.file)
        batch_idx = int(np.searchsorted(starts, self.rows[row], side="right")) - 1
        return reader.get_batch(batch_idx), int(self.rows[row] - starts[batch_idx])


@lru_cache(maxsize=4)
def _open_arrow(file: Path) -> tuple[pa.ipc.RecordBatchFileReader, NDArray[np.int64]]:
    """The open file and the row at which each batch starts."""
    reader = pa.ipc.open_file(pa.memory_map(str(file)))
    lengths = [reader.get_batch(idx).num_rows for idx in range(reader.num_record_batches)]
    return reader, np.cumsum([0, *lengths[:-1]], dtype=np.int64)


def decode(source: Path | io.BytesIO, mode: Mode, name: str) -> Image.Image:
    """Read one image and convert it to `mode`; transparency is dropped.

    Raises:
        DataError: it is missing, cut short, no image, or has more than 8 bits a channel; the message says `name`.
    """
    try:
        with Image.open(source) as image:
            image.load()
            if image.mode.startswith(("I", "F")):
                raise DataError(f"{name} has pixels of more than 8 bits (mode {image.mode}): convert it to 8 bits")
            opaque = image.convert("RGBA") if "transparency" in image.info else image
            return opaque.convert(mode)
    except DataError:
        raise
    except Exception as error:  # Pillow's plugins raise errors of many kinds for broken bytes
        raise DataError(f"{name} cannot be decoded ({error}): replace it, or take it out of the dataset") from error


def decode_if_small(images: Images) -> PixelImages | None:
    """All images in memory if they are small, of one size, and fit; else None.

    Raises:
        DataError: an image cannot be read; the message names it.
    """
    first = np.asarray(images[0])
    if max(first.shape[:2]) > SMALL_SIDE or len(images) * first.size > LARGEST_IN_MEMORY:
        return None
    pixels = np.empty((len(images), *first.shape), dtype=np.uint8)
    for row in range(len(images)):
        image = np.asarray(images[row])
        if image.shape != first.shape:
            return None
        pixels[row] = image
    return PixelImages(channels_first(pixels))


def channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[N, H, W] or [N, H, W, C] to [N, C, H, W], contiguous."""
    return np.ascontiguousarray(pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2))
