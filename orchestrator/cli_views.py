"""`orch report`, `ui` and `sync`: records in; the page, the dashboard, the mirror out."""

from __future__ import annotations

import json
from pathlib import Path

import click

from orchestrator.cli_place import check_root, find_sweep
from orchestrator.errors import UsageError
from orchestrator.results import ResultsDir


def make_report(place: str, results: Path, as_json: bool) -> None:
    """Write the report and hand its figures to the mirror, where there is one."""
    from orchestrator.views.report import write_report

    root, name = find_sweep(place, results)
    report = write_report(root, name)
    if root.mlflow_db.exists():
        from orchestrator.tuning.tracking import log_report

        log_report(root, name, report.figures)
    if as_json:
        content = {"report": report.path, "figures": report.figures, "tables": report.tables}
        click.echo(json.dumps(content, default=lambda value: str(value) if isinstance(value, Path) else list(value)))
    else:
        click.echo(str(report.path))


def serve_dashboard(results: Path, port: int | None) -> int:
    """Serve MLflow's dashboard until it is stopped."""
    from orchestrator.tuning.dashboard import serve

    root = ResultsDir(results)
    check_root(root)
    if not root.mlflow_db.exists():
        raise UsageError(f"there is no {root.mlflow_db}; `orch run SPEC` or `orch sync` makes it")
    return serve(root, port=port, announce=lambda url: click.echo(f"{url}  (Ctrl-C ends it)"))


def sync_mirror(place: str | None, results: Path, as_json: bool) -> None:
    """Make the mirror of one sweep, or of all, equal to the files."""
    from orchestrator.tuning.tracking import sync

    if place is None:
        root = ResultsDir(results)
        check_root(root)
        names = root.sweeps()
    else:
        root, name = find_sweep(place, results)
        names = [name]
    summaries = [sync(root, name) for name in names]
    if as_json:
        click.echo(json.dumps({"sweeps": [summary.to_json() for summary in summaries]}, indent=2))
    else:
        for summary in summaries:
            click.echo(str(summary))
