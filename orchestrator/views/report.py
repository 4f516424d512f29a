"""A sweep's records in; its report out: one HTML page that opens offline, figures in three formats, tables as CSV.

Equal records give equal bytes, wherever the root lies. Works on sweeps that are unfinished or have not begun, and
says so on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from orchestrator.durable import write_bytes, write_text
from orchestrator.results import ResultsDir, SweepFolder
from orchestrator.views.captions import accuracy_caption, learning_caption, params_caption
from orchestrator.views.figure_data import accuracy_vs_depth_data, accuracy_vs_params_data, learning_curve_data
from orchestrator.views.plots import plot_accuracy_vs_depth, plot_accuracy_vs_params
from orchestrator.views.plots_epochs import plot_learning_curves
from orchestrator.views.plots_style import figure_files
from orchestrator.views.report_content import cell_table, commits, cost, environment, lost_table
from orchestrator.views.sentences import find_caveats, say_best, say_progress
from orchestrator.views.spreadsheet import to_csv
from orchestrator.views.svg import inline_svg
from orchestrator.views.table import read_epochs, read_table, summarize_cells


@dataclass(frozen=True)
class Report:
    """Where a report lies."""

    path: Path
    """The page, `index.html`."""
    figures: tuple[Path, ...]
    """SVG, PNG, PDF and the CSV of the numbers drawn, figure by figure."""
    tables: tuple[Path, ...]
    """CSV of cells, trials and epochs."""


@dataclass(frozen=True)
class Frames:
    """What a report is made from."""

    table: pd.DataFrame
    cells: pd.DataFrame
    epochs: pd.DataFrame


@dataclass(frozen=True)
class FigureKind:
    """One figure of the report."""

    name: str
    """Of its files and its anchor on the page."""
    title: str
    plot: Callable[[Frames], Figure]
    data: Callable[[Frames], pd.DataFrame]
    caption: Callable[[pd.DataFrame], str]


FIGURES = (
    FigureKind(
        "accuracy_vs_depth",
        "Accuracy against depth",
        lambda frames: plot_accuracy_vs_depth(frames.cells, frames.table),
        lambda frames: accuracy_vs_depth_data(frames.cells, frames.table),
        accuracy_caption,
    ),
    FigureKind(
        "learning_curves",
        "Learning curves",
        lambda frames: plot_learning_curves(frames.epochs),
        lambda frames: learning_curve_data(frames.epochs),
        learning_caption,
    ),
    FigureKind(
        "accuracy_vs_params",
        "Accuracy against parameters",
        lambda frames: plot_accuracy_vs_params(frames.cells),
        lambda frames: accuracy_vs_params_data(frames.cells),
        params_caption,
    ),
)


def write_report(results: str | Path | ResultsDir, sweep: str, *, now: datetime | None = None) -> Report:
    """Write the sweep's report folder, replacing an earlier one file by file; the page is written last.

    Args:
        now: printed at the foot of the page; without it the page holds no date and equal records give equal bytes.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged, or the folder cannot be written.
    """
    opened = results if isinstance(results, ResultsDir) else ResultsDir(Path(results))
    table = read_table(opened, sweep)
    frames = Frames(table, summarize_cells(table), read_epochs(opened, sweep))
    folder = opened.sweep(sweep)
    tables = _write_tables(folder.report / "tables", frames)
    shown, figures = [], []
    for kind in FIGURES:
        markup, paths = _write_figure(folder.report / "figures", kind, frames)
        shown.append(markup)
        figures += paths
    page = folder.report / "index.html"
    write_text(page, _render(_content(folder, sweep, frames, now), shown))
    return Report(page, tuple(figures), tuple(tables))


def _write_tables(folder: Path, frames: Frames) -> list[Path]:
    paths = []
    for name, frame in (("cells", frames.cells), ("trials", frames.table), ("epochs", frames.epochs)):
        paths.append(folder / f"{name}.csv")
        write_text(paths[-1], to_csv(frame))
    return paths


def _write_figure(folder: Path, kind: FigureKind, frames: Frames) -> tuple[dict[str, Any], list[Path]]:
    data = kind.data(frames)
    contents = {**figure_files(kind.plot(frames), kind.name), "csv": to_csv(data).encode()}
    for suffix, content in contents.items():
        write_bytes(folder / f"{kind.name}.{suffix}", content)
    paths = [folder / f"{kind.name}.{suffix}" for suffix in contents]
    svg = inline_svg(contents["svg"], kind.name.replace("_", "-"), kind.title)
    shown = {"name": kind.name, "title": kind.title, "svg": svg, "caption": kind.caption(data)}
    return {**shown, "has_drawing": not data.empty, "files": [path.name for path in paths]}, paths


def _content(folder: SweepFolder, sweep: str, frames: Frames, now: datetime | None) -> dict[str, Any]:
    table, cells = frames.table, frames.cells
    notices = list(dict.fromkeys([*table.attrs["notices"], *frames.epochs.attrs["notices"]]))
    return {
        "sweep": sweep,
        "question": table.attrs["question"],
        "progress": say_progress(table),
        "best": say_best(cells),
        "caveats": find_caveats(cells, table, notices),
        "cells": cell_table(cells),
        "lost": lost_table(table),
        "environment": environment(table),
        "cost": cost(table),
        "commits": commits(table),
        "spec": _spec_text(folder),
        "written": now.isoformat(sep=" ", timespec="minutes") if now else "",
    }


def _spec_text(folder: SweepFolder) -> str:
    try:
        return folder.spec_file.read_text(errors="replace")
    except OSError:
        return ""


def _render(content: Mapping[str, Any], figures: list[dict[str, Any]]) -> str:
    source = files("orchestrator.views").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(source).render(content, figures=figures)
