"""`orch logs`: what the files say; writes nothing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from orchestrator.cli_place import check_root
from orchestrator.errors import UsageError
from orchestrator.record import State
from orchestrator.results import ResultsDir, TrialFolder

MAX_ROWS = 200


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
