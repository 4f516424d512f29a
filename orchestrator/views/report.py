"""A sweep's records in; its report out: one HTML page that opens offline, figures in three formats, tables in three.

Equal records give equal bytes, wherever the root lies. Works on sweeps that are unfinished or have not begun, and
says so on the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

from orchestrator.durable import remove_file, write_bytes, write_text
from orchestrator.results import ResultsDir, SweepFolder
from orchestrator.views.answer_sentences import say_answers
from orchestrator.views.answer_tables import contrast_table, delta_table, saturation_table
from orchestrator.views.caveats import find_all_caveats
from orchestrator.views.figures import FIGURES, find_figures
from orchestrator.views.forked import forked
from orchestrator.views.frames import Frames, read_frames
from orchestrator.views.plots_style import figure_files
from orchestrator.views.report_content import cell_table, commits, cost, environment, forecast_table, lost_table
from orchestrator.views.report_tables import TABLE_KINDS, choices_table, table_files
from orchestrator.views.seed_rule import say_rule
from orchestrator.views.sentences import say_best, say_progress
from orchestrator.views.spreadsheet import to_csv
from orchestrator.views.stats import DEFAULT_MARGIN
from orchestrator.views.svg import inline_svg
from orchestrator.views.table import accs_by_cell
from orchestrator.views.tuning_table import search_sentence


@dataclass(frozen=True)
class Report:
    """Where a report lies."""

    path: Path
    """The page, `index.html`."""
    figures: tuple[Path, ...]
    """SVG, PNG, PDF and the CSV of the numbers drawn, figure by figure."""
    tables: tuple[Path, ...]
    """CSV and Parquet, and LaTeX where a table fits a page."""


def write_report(
    results: str | Path | ResultsDir, sweep: str, *, margin: float = DEFAULT_MARGIN, now: datetime | None = None
) -> Report:
    """Write the sweep's report folder, replacing an earlier one file by file; the page is written last.

    Args:
        margin: a gain in accuracy below it counts as none, 0..1.
        now: printed at the foot of the page; without it the page holds no date and equal records give equal bytes.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged, or the folder cannot be written.
    """
    opened = results if isinstance(results, ResultsDir) else ResultsDir(Path(results))
    frames = read_frames(opened, sweep, margin=margin)
    folder = opened.sweep(sweep)
    missing: dict[str, dict[str, str]] = {}
    drawing = {}
    with forked(_draw) as draw:  # meanwhile this process finds answers and makes tables
        for kind, found in find_figures(frames):
            if isinstance(found, str):
                missing[kind.name] = {"title": kind.title, "reason": found}
            else:
                drawing[kind.name] = draw(kind.name, found)
        tables = _write_all(folder.report / "tables", table_files(sweep, frames))
        content = _content(folder, sweep, frames, now)
        shown, figures = [], []
        for name in (kind.name for kind in FIGURES if kind.name in drawing):
            figure, files = drawing[name].result()
            paths = _write_all(folder.report / "figures", files)
            shown.append({**figure, "files": [path.name for path in paths]})
            figures += paths
    _remove_stale(folder.report, {*tables, *figures})
    page = folder.report / "index.html"
    left_out = [missing[kind.name] for kind in FIGURES if kind.name in missing]
    write_text(page, _render({**content, "figures": shown, "left_out": left_out}))
    return Report(page, tuple(figures), tuple(tables))


def _write_all(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    for name, content in contents.items():
        write_bytes(folder / name, content)
    return [folder / name for name in contents]


def _draw(name: str, data: pd.DataFrame) -> tuple[dict[str, str], dict[str, bytes]]:
    """What the page shows of a figure, and its files."""
    kind = next(kind for kind in FIGURES if kind.name == name)
    contents = {**figure_files(kind.plot(data), name), "csv": to_csv(data).encode()}
    svg = inline_svg(contents["svg"], name.replace("_", "-"), kind.title)
    shown = {"name": name, "title": kind.title, "svg": svg, "caption": kind.caption(data)}
    return shown, {f"{name}.{suffix}": content for suffix, content in contents.items()}


def _remove_stale(folder: Path, written: set[Path]) -> None:
    """Files of an earlier report that this one does not have: a figure that is left out now is gone."""
    known = {f"{kind.name}.{suffix}" for kind in FIGURES for suffix in ("svg", "png", "pdf", "csv")}
    known |= {f"{name}.{suffix}" for name in TABLE_KINDS for suffix in ("csv", "parquet", "tex")}
    for path in [*(folder / "figures").glob("*"), *(folder / "tables").glob("*")]:
        if path.name in known and path not in written:
            remove_file(path)


def _seed_rule(frames: Frames) -> list[str]:
    rule = frames.table.attrs.get("seed_rule")
    return [] if rule is None else say_rule(rule, frames.cells, accs_by_cell(frames.table))


def _content(folder: SweepFolder, sweep: str, frames: Frames, now: datetime | None) -> dict[str, Any]:
    table, cells, answers = frames.table, frames.cells, frames.answers
    return {
        "sweep": sweep,
        "question": table.attrs["question"],
        "progress": say_progress(table),
        "is_complete": say_progress(table).startswith("Complete"),
        "answers": say_answers(answers),
        "best": say_best(cells),
        "seed_rule": _seed_rule(frames),
        "caveats": find_all_caveats(frames),
        "saturation": saturation_table(answers),
        "deltas": delta_table(answers),
        "contrasts": contrast_table(answers),
        "has_images": answers.has_images,
        "has_blocks": bool(frames.probes),
        "search": search_sentence(frames.choices),
        "choices": choices_table(frames.choices),
        "cells": cell_table(cells),
        "lost": lost_table(table),
        "forecast": forecast_table(table),
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


def _render(content: Mapping[str, Any]) -> str:
    source = files("orchestrator.views").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(source).render(content)
