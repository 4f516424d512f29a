"""`orch report`, `compare`, `export`, `ui` and `sync`: records in; the page, a table, the dashboard, the mirror out."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from orchestrator import places
from orchestrator.cli_place import check_root, find_sweep
from orchestrator.errors import UsageError
from orchestrator.results import ResultsDir


def make_report(place: str, results: Path, margin_points: float, as_json: bool) -> None:
    """Write the report, and mirror its figures where the sweep is mirrored."""
    from orchestrator.views.report import write_report

    root, name = find_sweep(place, results)
    report = write_report(root, name, margin=margin_points / 100.0)
    if places.tracking_uri() or root.mlflow_db.exists():
        from orchestrator.tuning.mirror import mirror_report
        from orchestrator.views.curves import name_curves

        mirror_report(root, name, name_curves, lambda text: click.echo(f"warning: {text}", err=True))
    if as_json:
        paths = {"report": str(report.path), "figures": _texts(report.figures), "tables": _texts(report.tables)}
        click.echo(json.dumps(paths, indent=2))
    else:
        click.echo(str(report.path))


def export_sweep(place: str, rows: Any, kind: Any, output: Path | None, results: Path, as_json: bool) -> None:
    """Write one tidy table of the sweep, to a file or to stdout."""
    from orchestrator.durable import write_bytes
    from orchestrator.views.export import choose_format, export_frame, read_rows

    root, name = find_sweep(place, results)
    is_stdout = output == Path("-")
    chosen = choose_format(None if is_stdout else output, kind)
    if is_stdout and as_json:
        raise UsageError("--output - writes the table to stdout, where --json would stand too: leave one of them out")
    frame = read_rows(root, name, rows)
    for notice in frame.attrs["notices"]:
        click.echo(f"warning: {notice}", err=True)
    content = export_frame(frame, chosen, rows)
    if is_stdout:
        click.echo(content, nl=False)
        return
    path = output or root.sweep(name).exports / f"{name}.{rows}.{chosen}"
    write_bytes(path, content)
    if as_json:
        told = {
            "path": str(path),
            "rows": rows,
            "format": chosen,
            "num_rows": len(frame),
            "columns": list(frame.columns),
        }
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(str(path))


def compare_two(
    place_a: str, place_b: str, results: Path, *, output: Path | None, fail_if_worse: float | None, as_json: bool
) -> int:
    """Compare B with A; 1 where B is worse by more than is allowed."""
    from orchestrator.views.compare import compare_sweeps, to_document
    from orchestrator.views.compare_files import write_comparison
    from orchestrator.views.compare_sentences import say_comparison_lines, say_warnings, say_worse

    if fail_if_worse is not None and not math.isfinite(fail_if_worse):
        raise UsageError(f"--fail-if-worse takes a number of points, not {fail_if_worse}")
    a, b = find_sweep(place_a, results), find_sweep(place_b, results)
    found = compare_sweeps(a, b)
    if fail_if_worse is not None and not found.judged:
        raise UsageError("--fail-if-worse has nothing to judge: no cell has two finished seeds in both sweeps")
    warnings = say_warnings(found)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    paths = write_comparison(found, output)
    worse = [] if fail_if_worse is None else found.worse(fail_if_worse)
    if as_json:
        gate = {"fail_if_worse": fail_if_worse, "worse": [pair.label for pair, _ in worse]}
        click.echo(json.dumps({**to_document(found), "files": _texts(paths), "warnings": warnings, **gate}, indent=2))
    else:
        click.echo("\n".join([*say_comparison_lines(found), "", *_texts(paths)]))
    if fail_if_worse is not None:
        for line in say_worse(found, fail_if_worse):
            click.echo(line, err=True)
    return 1 if worse else 0


def serve_dashboard(results: Path, port: int | None, as_json: bool) -> int:
    """Serve MLflow's dashboard until it is stopped."""
    from orchestrator.tuning.dashboard import Addresses, serve

    def announce(addresses: Addresses) -> None:
        if as_json:
            click.echo(json.dumps({"dashboard": addresses.dashboard, "charts": dict(addresses.charts)}))
            return
        click.echo(f"dashboard: {addresses.dashboard}  (Ctrl-C ends it)")
        for sweep, address in addresses.charts.items():
            click.echo(f"accuracy against depth of {sweep}: {address}")

    root = ResultsDir(results)
    check_root(root)
    return serve(root, announce, port=port)


def sync_mirror(place: str | None, results: Path, as_json: bool) -> None:
    """Make the mirror of one sweep, or of all, equal to the files."""
    from orchestrator.tuning.sync import sync
    from orchestrator.views.curves import name_curves

    if place is None:
        root = ResultsDir(results)
        check_root(root)
        names = root.sweeps()
    else:
        root, name = find_sweep(place, results)
        names = [name]
    summaries = [sync(root, name, name_curves) for name in names]
    if as_json:
        click.echo(json.dumps({"sweeps": [dataclasses.asdict(summary) for summary in summaries]}, indent=2))
        return
    for summary in summaries:
        click.echo(f"{summary.sweep}: {summary.num_trials} trials mirrored, {summary.num_writes} changes written")
        for message in summary.damaged:
            click.echo(f"warning: {message}", err=True)


def _texts(paths: Iterable[Path]) -> list[str]:
    return [str(path) for path in paths]
