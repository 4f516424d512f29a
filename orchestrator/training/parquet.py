"""Parquet files in the layout of Hugging Face image datasets in; their train and test parts and fingerprint, out.

Files are named by their part: train-00000-of-00002.parquet, test-*.parquet (or val-*, validation-*), in the root or its
folder data. Columns are an image (a struct of bytes and path, named `image` or `img`) and a whole number `label`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator import durable
from orchestrator.catalog import SMALL_SIDE
from orchestrator.errors import DataError
from orchestrator.training.cache import decoded, written
from orchestrator.training.fingerprint import FileFacts, fingerprint_files, stamp_files
from orchestrator.training.images import ArrowImages, EncodedImages, Mode, Split

IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMN = "label"
HELD_IN_MEMORY = 2**30
"""Bytes of files up to which all images are decoded into memory if the first one is small."""

_PART = re.compile(r"(train|test|validation|val)([-_.].*)?\.parquet")
_ARROW_SCHEMA = pa.schema([("bytes", pa.binary()), ("name", pa.string())])


def read_parquet(root: Path, mode: Mode) -> tuple[Split, Split, str]:
    """The train and test parts of `root`, and the fingerprint of all files.

    Small images of one size are kept in memory. Others are copied once, still encoded, into a file in the cache folder
    that allows access to single images.

    Raises:
        DataError: a file or column is missing or broken; the message names the file.
    """
    folder = next((place for place in (root, root / "data") if _part_files(place)), root)
    parts = _part_files(folder)
    tests = sorted(set(parts) - {"train"})
    if "train" not in parts:
        raise DataError(f"{root} holds no train-*.parquet, nor does its folder data")
    if len(tests) != 1:
        found = "neither test-*.parquet nor val-*.parquet" if not tests else " and ".join(tests) + " files"
        raise DataError(f"{folder} holds {found}: exactly one part besides train must be there, the test split")
    train, test = (_read_part(folder, parts[name], mode) for name in ("train", tests[0]))
    return train, test, fingerprint_files(folder, [*parts["train"], *parts[tests[0]]])


def _part_files(folder: Path) -> dict[str, list[FileFacts]]:
    parts: dict[str, list[FileFacts]] = {}
    for path in sorted(folder.glob("*.parquet")):
        match = _PART.fullmatch(path.name)
        if match:
            facts = path.stat()
            parts.setdefault(match[1], []).append(FileFacts(path.name, facts.st_size, facts.st_mtime_ns))
    return parts


def _read_part(folder: Path, files: Sequence[FileFacts], mode: Mode) -> Split:
    labels = np.concatenate([_read_labels(folder / file.name) for file in files])
    if not len(labels):
        raise DataError(f"{folder / files[0].name} holds no rows")
    stamp = stamp_files(folder, files)
    if sum(file.num_bytes for file in files) <= HELD_IN_MEMORY:
        first = _hold(islice(_encoded_batches(folder, files), 1), mode)[0]
        if max(first.size) <= SMALL_SIDE:
            pixels = decoded(len(labels), f"{stamp}-{mode}", lambda: _hold(_encoded_batches(folder, files), mode))
            if pixels is not None:
                return Split(pixels, labels)
    file = written(f"encoded/{stamp}.arrow", lambda path: _copy(folder, files, path))
    return Split(ArrowImages(file, np.arange(len(labels)), mode), labels)


def _hold(batches: Iterable[pa.RecordBatch], mode: Mode) -> EncodedImages:
    blobs: list[bytes] = []
    names: list[str] = []
    for batch in batches:
        blobs += batch.column("bytes").to_pylist()
        names += batch.column("name").to_pylist()
    return EncodedImages(blobs, names, mode)


def _copy(folder: Path, files: Sequence[FileFacts], path: Path) -> None:
    def fill(sink: IO[bytes]) -> None:
        with pa.ipc.new_file(sink, _ARROW_SCHEMA) as writer:
            for batch in _encoded_batches(folder, files):
                writer.write_batch(batch)

    durable.write_with(path, fill)


def _encoded_batches(folder: Path, files: Sequence[FileFacts]) -> Iterator[pa.RecordBatch]:
    """Columns bytes and name, in the order of files and rows."""
    for file in files:
        path, first_row = folder / file.name, 0
        column = _image_column(path)
        with _readable(path) as parquet:
            for batch in parquet.iter_batches(batch_size=1024, columns=[column]):
                images = batch.column(column)
                fields = dict(zip((field.name for field in images.type), images.flatten(), strict=True))
                blobs, paths = fields["bytes"], fields["path"]  # flattened, they are null where the struct is
                names = [f"{path} row {first_row + row} ({name})" for row, name in enumerate(paths.to_pylist())]
                if blobs.null_count:
                    name = names[blobs.is_null().to_pylist().index(True)]
                    raise DataError(f"{name} has no image bytes: write the images into the Parquet files")
                first_row += len(names)
                yield pa.record_batch([blobs.cast(pa.binary()), pa.array(names, pa.string())], schema=_ARROW_SCHEMA)


def _image_column(path: Path) -> str:
    with _readable(path) as parquet:
        schema = parquet.schema_arrow
    for name in IMAGE_COLUMNS:
        if name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_struct(kind) and {field.name for field in kind} >= {"bytes", "path"}:
                return name
            raise DataError(f"{path} column {name} is {kind}: it must be a struct of bytes and path")
    raise DataError(f"{path} has columns {', '.join(schema.names)}, but none named {' or '.join(IMAGE_COLUMNS)}")


def _read_labels(path: Path) -> NDArray[np.int64]:
    with _readable(path) as parquet:
        schema = parquet.schema_arrow
        if LABEL_COLUMN not in schema.names:
            raise DataError(f"{path} has columns {', '.join(schema.names)}, but none named {LABEL_COLUMN}")
        column = parquet.read(columns=[LABEL_COLUMN]).column(LABEL_COLUMN)
    if not pa.types.is_integer(column.type):
        raise DataError(f"{path} column {LABEL_COLUMN} is {column.type}: labels must be whole numbers from 0")
    if column.null_count:
        raise DataError(f"{path} has {column.null_count} rows without a label")
    return np.asarray(column.to_numpy(), dtype=np.int64)


@contextmanager
def _readable(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as parquet:
            yield parquet
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}): replace it") from error
