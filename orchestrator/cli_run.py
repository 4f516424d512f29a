"""`orch run` and `orch resume`: a spec in, trials trained, a summary out."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from orchestrator import cost, places, provenance
from orchestrator.cli_place import find_sweep
from orchestrator.errors import StoppedError, UsageError
from orchestrator.grid import count_trials, expand_grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.spec import load_spec
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, Event, TrialStarted
from orchestrator.tuning.evidence import HalfWidths
from orchestrator.tuning.live import LiveTable, PlainLines, duration
from orchestrator.tuning.runner import Listener, RunOptions
from orchestrator.tuning.search_phase import SearchSummary
from orchestrator.tuning.survey import Standing
from orchestrator.tuning.sweep import Summary, run_sweep
from orchestrator.tuning.timing import ExpectedTime
from orchestrator.wording import orch_command

MAX_TRIALS_UNASKED = 1000


def run_spec(path: Path, *, results: Path, as_json: bool, yes: bool, **options: Any) -> int:
    """Train what is missing of the spec at `path`; returns the exit code."""
    make_importable(Path.cwd())
    spec = load_spec(path)
    return _run(spec, ResultsDir(results), as_json=as_json, yes=yes, words=["run", str(path)], **options)


def resume_sweep(place: str, *, results: Path, as_json: bool, yes: bool, **options: Any) -> int:
    """Go on with a sweep from its kept spec; returns the exit code."""
    make_importable(Path.cwd())
    root, name = find_sweep(place, results)
    spec = load_spec(root.sweep(name).spec_file)
    return _run(spec, root, as_json=as_json, yes=yes, words=["resume", place], **options)


def _run(
    spec: SweepSpec,
    results: ResultsDir,
    *,
    as_json: bool,
    yes: bool,
    words: list[str],
    address: str | None,
    executor: str,
    **flags: bool,
) -> int:
    num_trials = count_trials(spec)
    if num_trials > MAX_TRIALS_UNASKED and not yes:
        raise UsageError(
            f"{spec.name} asks for up to {num_trials:,} trials; look at it with `orch plan`, "
            f"and start it with --yes if that is meant (more than {MAX_TRIALS_UNASKED:,} are not started unasked)"
        )
    grid = expand_grid(spec, count_params)
    for warning in grid.warnings:
        click.echo(f"warning: {warning}", err=True)
    where = ["--executor", executor] if executor != "ray_tune" else ["--address", address] if address else []
    given = [f"--{name.replace('_', '-')}" for name, is_on in {**flags, "yes": yes}.items() if is_on]
    again = orch_command([*words, *where, *given], results.root)
    options = RunOptions(
        executor=executor,  # type: ignore[arg-type]
        address=None if executor == "serial" else address or os.environ.get("RAY_ADDRESS"),
        command=provenance.command_line(),
        again=again,
        **flags,
    )
    listeners = _listeners(spec, results, as_json)
    try:
        summary = run_sweep(spec, grid, results, options, listeners, _half_widths(spec))
    finally:
        for listener in listeners:
            listener.close()
    return _finish(summary, results, again, as_json)


def _half_widths(spec: SweepSpec) -> HalfWidths | None:
    """What a rule for the seeds is judged by; imported only where there is one."""
    if spec.seed_rule is None:
        return None
    from orchestrator.views.seed_rule import half_widths

    return half_widths


def _finish(summary: Summary, results: ResultsDir, again: str, as_json: bool) -> int:
    if as_json:
        content = {key: value for key, value in dataclasses.asdict(summary).items() if key != "stopped_by"}
        for name in ("search", "num_wide", "given_up"):
            if content[name] is None:
                del content[name]
        click.echo(json.dumps({"event": "summary", **content}))
    parts = [f"{summary.num_finished} of {summary.num_trials} trials finished"]
    parts += [f"{summary.num_reused} of them before this run"] if summary.num_reused else []
    parts += [f"{summary.num_diverged} diverged"] if summary.num_diverged else []
    parts += [f"{summary.num_failed} failed"] if summary.num_failed else []
    parts += [f"{summary.num_unfinished} unfinished"] if summary.num_unfinished else []
    click.echo(f"{summary.sweep}: {', '.join(parts)}; {duration(summary.wall_time_s)}", err=True)
    if summary.search is not None:
        _tell_search(summary.search)
    if summary.num_wide is not None:
        told = (
            f"{summary.num_wide} cells are known less well than it asks" if summary.num_wide else "every cell meets it"
        )
        click.echo(f"rule for seeds: {told}", err=True)
    if summary.stopped_by is not None:
        raise StoppedError(f"stopped; everything is saved, go on with: {again}", summary.stopped_by)
    if summary.given_up is not None:
        click.echo(f"error: {summary.given_up}", err=True)
    if summary.num_failed or (summary.search is not None and summary.search.num_failed):
        why = orch_command(["status", summary.sweep], results.root)
        retry = again if "--retry-failed" in again else f"{again} --retry-failed"
        click.echo(f"see why with: {why}; try again with: {retry}", err=True)
    click.echo(f"next: {orch_command(['report', summary.sweep], results.root)}", err=True)
    return summary.exit_code


def _tell_search(search: SearchSummary) -> None:
    counts = {"diverged": search.num_diverged, "pruned": search.num_pruned, "failed": search.num_failed}
    parts = [f"{search.num_finished} of {search.num_trials} search trials finished"]
    parts += [f"{num} {name}" for name, num in counts.items() if num]
    parts += [f"{search.num_unfinished} unfinished"] if search.num_unfinished else []
    click.echo(f"search: {', '.join(parts)}; {search.num_chosen} cells chosen for", err=True)
    for problem in search.problems:
        click.echo(f"error: {problem}", err=True)


def progress_listener() -> Listener:
    """A live table on a terminal, plain lines elsewhere; on stderr."""
    console = Console(stderr=True)
    return LiveTable(console) if console.is_terminal else PlainLines(console)


def _listeners(spec: SweepSpec, results: ResultsDir, as_json: bool) -> list[Listener]:
    listeners = [progress_listener()]
    if as_json:
        listeners.append(JsonLines())
    if spec.tracking.mlflow:
        from orchestrator.tuning.mirror import Mirror
        from orchestrator.tuning.mounts import sqlite_warning
        from orchestrator.views.curves import name_curves

        again = orch_command(["sync", spec.name], results.root)
        warning = None if places.tracking_uri() else sqlite_warning(results.mlflow_db, again)
        if warning:
            click.echo(f"warning: {warning}", err=True)
        listeners.append(Mirror(results, name_curves, lambda text: click.echo(f"warning: {text}", err=True)))
    return listeners


class JsonLines:
    """Listener that prints one JSON object an event."""

    def start(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        self._say("start", sweep=index.name, **_counts_of(index), num_to_run=len(to_run))

    def grow(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        self._say("grow", **_counts_of(index), num_to_run=len(to_run))

    def phase(self, text: str) -> None:
        self._say("phase", text=text)

    def waiting(self, expected: Mapping[str, ExpectedTime]) -> None:
        pass

    def event(self, event: Event) -> None:
        if isinstance(event, TrialStarted):
            self._say("trial_started", trial_id=event.trial_id)
        elif isinstance(event, EpochFinished):
            self._say("epoch", trial_id=event.trial_id, **dataclasses.asdict(event.metrics))
        else:
            record = event.record
            numbers = {"val_acc": record.val_acc, "test_acc": record.test_acc} if record else {}
            self._say("trial_ended", trial_id=event.trial_id, state=event.state, error=event.error, **numbers)

    def close(self) -> None:
        pass

    def _say(self, name: str, **content: Any) -> None:
        click.echo(json.dumps({"event": name, **content}))
        sys.stdout.flush()


def _counts_of(index: SweepIndex) -> dict[str, int]:
    """Measured trials and, of a sweep with `tune:`, search trials; those whose ids are not known yet included."""
    num_search = len(index.search) + index.num_search_pending
    counts = {"num_trials": len(index.members) + index.num_pending}
    return counts | ({"num_search_trials": num_search} if num_search else {})


def count_params(trial: Trial) -> int:
    """Parameters in closed form, or of the built model for an attention without one."""
    if cost.is_closed_form(trial):
        return cost.num_params(trial)
    from orchestrator.models import count_on_meta

    return count_on_meta(trial)[0]


def make_importable(folder: Path) -> None:
    """A user's own attention is found from the folder the command runs in, as with `python -m`."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
