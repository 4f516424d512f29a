"""A comparison of two sweeps in; its figure as SVG, PNG and PDF, and the numbers in it as CSV, written."""

from __future__ import annotations

from pathlib import Path

from orchestrator.durable import write_bytes
from orchestrator.views.compare import SweepComparison
from orchestrator.views.plots_compare import compare_data, plot_compare
from orchestrator.views.plots_style import figure_files
from orchestrator.views.spreadsheet import to_csv


def write_comparison(found: SweepComparison, folder: Path | None = None) -> list[Path]:
    """Write `delta_<A>_<B>` into `folder`, the report folder of B by default; returns the paths.

    Raises:
        ResultsError: the folder cannot be written.
    """
    place = folder or found.b.results.sweep(found.b.name).report / "compare"
    name = f"delta_{found.a.name}_{found.b.name}"
    data = compare_data(found)
    files = {**figure_files(plot_compare(data, found.a.name, found.b.name), name), "csv": to_csv(data).encode()}
    for suffix, content in files.items():
        write_bytes(place / f"{name}.{suffix}", content)
    return [place / f"{name}.{suffix}" for suffix in files]
