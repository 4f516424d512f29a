"""The tables of a report: three formats of the same rows."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from orchestrator.views.frames import Frames, read_frames
from orchestrator.views.report_tables import TABLE_KINDS, table_files
from tests.views.sweep_builder import SweepBuilder, build_sweep

IN_TEX = {"cells", "saturation", "deltas", "contrasts"}


def test_every_table_is_csv_and_parquet_and_those_of_the_page_are_latex(
    answered_sweep: SweepBuilder, frames: Frames
) -> None:
    found = table_files(answered_sweep.name, frames)
    shown = set(TABLE_KINDS) - {"choices"}
    assert set(found) == {f"{n}.{s}" for n in shown for s in ("csv", "parquet")} | {f"{n}.tex" for n in IN_TEX}
    for name in shown:
        from_csv, from_parquet = (
            pd.read_csv(io.BytesIO(found[f"{name}.csv"])),
            pd.read_parquet(io.BytesIO(found[f"{name}.parquet"])),
        )
        assert list(from_csv.columns) == list(from_parquet.columns), name
        assert len(from_csv) == len(from_parquet) > 0, name
    for name in IN_TEX:
        assert found[f"{name}.tex"].count(rb"\\") == len(pd.read_csv(io.BytesIO(found[f"{name}.csv"]))) + 1


def test_a_sweep_that_has_not_begun_has_its_cells_and_trials_alone(tmp_path: Path) -> None:

    sweep = build_sweep(tmp_path, {"depth": [4, 8]})
    found = table_files(sweep.name, read_frames(sweep.results, sweep.name))
    assert {name.partition(".")[0] for name in found} == {"cells", "trials", "epochs"}
