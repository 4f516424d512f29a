"""`orch plan` and `logs`: what the files say, as tables for people or as JSON; writes nothing."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli_place import check_root
from orchestrator.errors import UsageError
from orchestrator.record import State
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.tuning.live import duration

UNKNOWN_TIME = "unknown until the first epoch"
MAX_ROWS = 200


def show_plan(path: Path, results: Path, as_json: bool) -> None:
    """Print the priced grid of the spec at `path`."""
    from orchestrator.cli_run import MAX_TRIALS_UNASKED, count_params, make_importable
    from orchestrator.grid import count_trials, expand_grid
    from orchestrator.spec import load_spec
    from orchestrator.tuning.plan import build_plan

    make_importable(Path.cwd())
    root = ResultsDir(results)
    check_root(root)
    spec = load_spec(path)
    num_trials = count_trials(spec)
    if num_trials > 100 * MAX_TRIALS_UNASKED:
        content = {"sweep": spec.name, "num_trials_at_most": num_trials, "needs_yes": True}
        text = f"{spec.name}: at most {num_trials:,} trials, too many to list; `orch run` starts them only with --yes"
        click.echo(json.dumps(content) if as_json else text)
        return
    found = build_plan(spec, expand_grid(spec, count_params), root)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found), indent=2))
        return
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    _print_plan(found)


def _print_plan(found: Any) -> None:
    axes = list(dict.fromkeys(name for cell in found.cells for name in cell.axes))
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for name in axes:
        table.add_column(name)
    is_searched = found.num_search_trials > 0
    for name in (
        *(("search",) if is_searched else ()),
        "trials",
        "params",
        "MFLOPs/image",
        "memory MiB",
        "time a trial",
        "GPU-hours",
    ):
        table.add_column(name, justify="right")
    table.add_column("standing")
    for cell in found.cells[:MAX_ROWS]:
        table.add_row(
            *[Text("-" if cell.axes.get(name) is None else str(cell.axes[name])) for name in axes],
            *([_search_text(cell.search)] if is_searched else []),
            f"{cell.num_finished}/{cell.num_trials}",
            f"{cell.num_params:,}",
            f"{cell.flops / 1e6:,.2f}",
            "unknown" if cell.memory_mib is None else f"{cell.memory_mib:,.0f}",
            "unknown" if cell.trial_time_s is None else duration(cell.trial_time_s),
            "unknown" if cell.gpu_hours is None else f"{cell.gpu_hours:.2f}",
            Text("; ".join(_standing_texts(cell))),
        )
    console = console_of()
    console.print(table)
    if len(found.cells) > MAX_ROWS:
        console.print(f"... and {len(found.cells) - MAX_ROWS:,} more cells (--json lists all)")
    if is_searched:
        console.print(
            f"{found.sweep}: {found.num_search_trials} search trials, {found.num_search_to_run} to run; "
            "a measured trial has no id before its cell's search is over",
            highlight=False,
        )
    remaining = UNKNOWN_TIME if found.remaining_time_s is None else duration(found.remaining_time_s)
    console.print(
        f"{found.sweep}: {len(found.cells)} cells, {found.num_trials} trials, {found.num_finished} done, "
        f"{found.num_to_run} to run; training time one after the other: {remaining}",
        highlight=False,
    )
    if found.num_trials_at_most > found.num_trials:
        at_most = UNKNOWN_TIME if found.remaining_time_at_most_s is None else duration(found.remaining_time_at_most_s)
        console.print(
            f"{found.sweep}: its rule for seeds may ask for up to {found.num_trials_at_most} trials; "
            f"training time then at most: {at_most}",
            highlight=False,
        )
    if found.gpu_hours:
        console.print(f"GPU-hours: {found.gpu_hours:.2f} on {found.device}", highlight=False)


def _search_text(search: Any) -> str:
    return "-" if search is None else f"{search.num_finished}/{search.num_trials}"


def _standing_texts(cell: Any) -> list[str]:
    """Where a cell stands and why; of a searched one, what was chosen."""
    texts = list(cell.reasons if cell.standing == "changed" else [cell.standing, *cell.reasons])
    if cell.search is not None:
        if cell.search.chosen is not None:
            texts.insert(0, ", ".join(f"{name} {value}" for name, value in cell.search.chosen.items()))
        texts += [note for note in cell.search.notes if note not in texts]
    return texts


def show_log(prefix: str, results: Path, *, follow: bool, as_json: bool) -> None:
    """Print the log of the last attempt of the trial whose id starts with `prefix`."""
    folder = _find_trial(prefix, ResultsDir(results))
    number = folder.num_attempts()
    path = folder.log_file(number)
    if not path.exists():
        raise UsageError(f"trial {folder.path.name} has no log yet: it has not been started")
    if as_json:
        click.echo(
            json.dumps({"trial_id": folder.path.name, "attempt": number, "lines": path.read_text().splitlines()})
        )
        return
    with path.open() as file:
        while True:
            click.echo(file.read(), nl=False)
            sys.stdout.flush()
            if not follow or folder.state() is not State.RUNNING:
                click.echo(file.read(), nl=False)
                return
            time.sleep(0.5)


def _find_trial(prefix: str, root: ResultsDir) -> TrialFolder:
    check_root(root)
    found = [folder for folder in root.trials() if folder.path.name.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"no trial under {root.root} has an id that starts with {prefix[:200]!r}; `orch status SWEEP` lists them"
        )
    names = ", ".join(folder.path.name for folder in found[:5])
    raise UsageError(f"{len(found)} trials have an id that starts with {prefix[:200]!r}: {names}")


def console_of() -> Console:
    """Stdout; a pipe gets full lines however long they are."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
