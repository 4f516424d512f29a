"""`orch plan`, `status` and `logs`: what the files say, as tables for people or as JSON; writes nothing."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.cli_place import check_root, find_sweep
from orchestrator.errors import ResultsError, UsageError
from orchestrator.record import State, SweepIndex, SweepMember, TrialRecord
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
    console = _console()
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


def show_status(place: str | None, results: Path, as_json: bool) -> None:
    """Print where one sweep stands, or a line for each sweep under the root."""
    if place is None:
        root = ResultsDir(results)
        check_root(root)
        sweeps = [_sweep_status(root, name) for name in root.sweeps()]
        if as_json:
            click.echo(json.dumps({"sweeps": sweeps}, indent=2))
        elif not sweeps:
            click.echo(f"no sweep under {root.root} yet; `orch run SPEC` makes one", err=True)
        else:
            for sweep in sweeps:
                click.echo(_sweep_text(sweep))
        return
    root, name = find_sweep(place, results)
    index = root.sweep(name).read_index()
    trials = [_trial_status(root, member) for member in index.all_members]
    content = {**_count_sweep(index, {trial["trial_id"]: trial["state"] for trial in trials}), "trials": trials}
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    _print_status(content)


def _sweep_status(root: ResultsDir, name: str) -> dict[str, Any]:
    index = root.sweep(name).read_index()
    states = {member.trial_id: root.trial(member.trial_id).state().value for member in index.all_members}
    return _count_sweep(index, states)


def _count_sweep(index: SweepIndex, states: Mapping[str, str]) -> dict[str, Any]:
    content = {"sweep": index.name, **_count_states(states, index.members, index.num_pending)}
    if index.search or index.num_search_pending:
        content["search"] = _count_states(states, index.search, index.num_search_pending)
    return content


def _count_states(known: Mapping[str, str], members: Sequence[SweepMember], num_pending: int) -> dict[str, Any]:
    """Trials by state; those whose ids are not known yet wait."""
    states = Counter(known[member.trial_id] for member in members)
    if num_pending:
        states[State.WAITING.value] += num_pending
    return {"num_trials": len(members) + num_pending, "states": dict(states)}


def _trial_status(root: ResultsDir, member: Any) -> dict[str, Any]:
    folder = root.trial(member.trial_id)
    try:
        record = folder.read_record()
    except ResultsError:
        told = {**_unfinished_status(folder), "state": State.WAITING.value, "error": None}
    else:
        told = _unfinished_status(folder) if record is None else _finished_status(record)
        if record is not None and record.state is not State.COMPLETE:
            rows = folder.read_metrics()  # it has no final model
            told["val_acc"] = rows[-1].val_acc if rows else None
    if member.phase != "measure":
        told["test_acc"] = None  # nothing that was chosen may rest on it
    place = {"trial_id": member.trial_id, "axes": {**member.axes, "seed": member.seed}}
    return {**place, "phase": member.phase, "proposal": member.proposal, **told}


def _finished_status(record: TrialRecord) -> dict[str, Any]:
    """What the record says; a finished trial's other files are not opened."""
    return {
        "state": record.state.value,
        "num_epochs": record.num_epochs,
        "num_attempts": record.num_attempts,
        "val_acc": record.val_acc,
        "test_acc": record.test_acc,
        "error": record.diverged,
    }


def _unfinished_status(folder: TrialFolder) -> dict[str, Any]:
    rows, attempts = folder.read_metrics(), folder.read_attempts()
    state = folder.state_of(attempts)
    return {
        "state": state.value,
        "num_epochs": len(rows),
        "num_attempts": folder.num_attempts(),
        "val_acc": rows[-1].val_acc if rows else None,
        "test_acc": None,
        "error": attempts[-1].error if state is State.FAIL else None,
    }


def _print_status(content: dict[str, Any]) -> None:
    trials = content["trials"]
    axes = list(dict.fromkeys(name for trial in trials for name in trial["axes"]))
    table = Table(box=None, padding=(0, 2), header_style="bold")
    is_searched = "search" in content
    for name in (
        "trial",
        *(["phase"] if is_searched else []),
        *axes,
        "state",
        "epochs",
        "attempts",
        "val acc",
        "test acc",
        "",
    ):
        table.add_column(name)
    for trial in trials[:MAX_ROWS]:
        table.add_row(
            trial["trial_id"],
            *([_phase_text(trial)] if is_searched else []),
            *[Text("-" if trial["axes"].get(name) is None else str(trial["axes"][name])) for name in axes],
            trial["state"],
            str(trial["num_epochs"]),
            str(trial["num_attempts"]),
            _acc(trial["val_acc"]),
            _acc(trial["test_acc"]),
            Text(trial["error"] or ""),
        )
    console = _console()
    console.print(table)
    if len(trials) > MAX_ROWS:
        console.print(f"... and {len(trials) - MAX_ROWS:,} more trials (--json lists all)")
    console.print(_sweep_text(content), highlight=False)


def _sweep_text(content: dict[str, Any]) -> str:
    search = f"; search: {_counts_text(content['search']['states'])}" if "search" in content else ""
    return f"{content['sweep']}: {_counts_text(content['states'])}{search}"


def _phase_text(trial: dict[str, Any]) -> str:
    return "measure" if trial["proposal"] is None else f"tune {trial['proposal']}"


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


def _counts_text(states: dict[str, int]) -> str:
    return ", ".join(f"{states[state.value]} {state.value}" for state in State if states.get(state.value))


def _acc(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _console() -> Console:
    """Stdout; a pipe gets full lines however long they are."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
