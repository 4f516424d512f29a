"""A sweep in; one tidy file out, Parquet or CSV: a row a trial, an epoch, or a block at a probed moment.

`columns.py` says what every column holds; in a Parquet file the same words stand in the fields' metadata.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from orchestrator.errors import UsageError
from orchestrator.results import ResultsDir
from orchestrator.views.columns import AXIS_MEANING, meanings_of
from orchestrator.views.probe_rows import read_probes
from orchestrator.views.spreadsheet import to_csv
from orchestrator.views.table import read_epochs, read_table

Rows: TypeAlias = Literal["trials", "epochs", "blocks"]
Format: TypeAlias = Literal["parquet", "csv"]

READERS: Mapping[Rows, Callable[[ResultsDir, str], pd.DataFrame]] = {
    "trials": read_table,
    "epochs": read_epochs,
    "blocks": read_probes,
}


def read_rows(results: str | Path | ResultsDir, sweep: str, rows: Rows = "trials") -> pd.DataFrame:
    """The tidy frame of a sweep, with a row a trial, an epoch, or a block at a probed moment.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    opened = results if isinstance(results, ResultsDir) else ResultsDir(Path(results))
    return READERS[rows](opened, sweep)


def export_frame(frame: pd.DataFrame, kind: Format, rows: Rows) -> bytes:
    """The frame as the bytes of one file; equal frames give equal bytes.

    CSV has a header and no index, missing values empty, floats in full; text that a spreadsheet would compute gets an
    apostrophe in front. Parquet keeps the types, missing values null, and the meaning of each column beside it.
    """
    return to_csv(frame).encode() if kind == "csv" else to_parquet(frame, meanings_of(rows))


def to_parquet(frame: pd.DataFrame, meanings: Mapping[str, str] | None = None) -> bytes:
    """The frame as a Parquet file, zstd-compressed; with `meanings` every field has its own in its metadata."""
    plain = frame.copy()
    plain.attrs = {name: value for name, value in frame.attrs.items() if _is_plain(value)}
    table = pa.Table.from_pandas(plain, preserve_index=False)
    if meanings is not None:
        told = {name: {"meaning": meanings.get(name, AXIS_MEANING)} for name in table.schema.names}
        fields = [field.with_metadata(told[field.name]) for field in table.schema]
        table = table.cast(pa.schema(fields, metadata=table.schema.metadata))
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def choose_format(output: Path | None, asked: Format | None) -> Format:
    """The format that was asked for, else that of the file's name, else Parquet.

    Raises:
        UsageError: the name says one format and the option another, or the name says none that there is.
    """
    suffix = output.suffix.removeprefix(".").lower() if output is not None else ""
    named: Mapping[str, Format] = {"csv": "csv", "parquet": "parquet"}
    if asked is None and suffix and suffix not in named:
        raise UsageError(f"{output} says no format: end it in .parquet or .csv, or give --format")
    if asked is not None and suffix in named and named[suffix] != asked:
        raise UsageError(f"{output} is named as {suffix} and --format says {asked}: change one of them")
    return asked or named.get(suffix, "parquet")


def _is_plain(value: object) -> bool:
    """Whether the value is one that JSON has, as the file's metadata takes no other."""
    if isinstance(value, Mapping):
        return all(_is_plain(part) for part in value.values())
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, str | int | float | bool)
