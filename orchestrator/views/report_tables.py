"""The frames of a sweep in; the files of its report's tables out: CSV and Parquet, and LaTeX where one fits a page."""

from __future__ import annotations

import pandas as pd

from orchestrator.views.answer_tables import (
    contrast_frame,
    contrast_table,
    delta_frame,
    delta_table,
    saturation_frame,
    saturation_table,
)
from orchestrator.views.export import to_parquet
from orchestrator.views.frames import Frames
from orchestrator.views.latex import to_latex
from orchestrator.views.probe_rows import block_frame
from orchestrator.views.report_content import TextTable, cell_table
from orchestrator.views.spreadsheet import to_csv
from orchestrator.views.tuning_table import choice_table

TABLE_KINDS = ("cells", "saturation", "deltas", "contrasts", "choices", "trials", "epochs", "blocks")


def table_files(sweep: str, frames: Frames) -> dict[str, bytes]:
    """File name to content; tables without rows are left out, but for those of cells, trials and epochs."""
    answers = frames.answers
    contents = {
        "cells": frames.cells,
        "saturation": saturation_frame(answers),
        "deltas": delta_frame(answers),
        "contrasts": contrast_frame(answers),
        "choices": frames.choices,
        "trials": frames.table,
        "epochs": frames.epochs,
        "blocks": block_frame(frames.table, frames.probes),
    }
    found = {}
    for name, frame in contents.items():
        if len(frame) or name in ("cells", "trials", "epochs"):
            found[f"{name}.csv"] = to_csv(frame).encode()
            found[f"{name}.parquet"] = to_parquet(frame)
    for name, table, caption in (
        ("cells", cell_table(frames.cells), "Cells"),
        ("saturation", saturation_table(answers), "Where depth stops paying"),
        ("deltas", delta_table(answers), "Paired differences in test accuracy by depth, in points"),
        ("contrasts", contrast_table(answers), "Differences over depth, in points"),
        ("choices", choices_table(frames.choices), "What was tuned"),
    ):
        if table.rows:
            found[f"{name}.tex"] = to_latex(table, f"{caption}: {sweep}", f"{sweep}-{name}").encode()
    return found


def choices_table(choices: pd.DataFrame) -> TextTable:
    """The tuned values as the page shows them."""
    rows = choice_table(choices)
    headings = tuple(rows[0]) if rows else ()
    return TextTable(headings, tuple(tuple(row.values()) for row in rows), 0)
