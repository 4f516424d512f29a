"""`orch status`: where sweeps and their trials stand, as tables for people or as JSON; writes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from orchestrator.cli_place import check_root, find_sweep
from orchestrator.cli_show import MAX_ROWS, console_of
from orchestrator.errors import ResultsError
from orchestrator.failure import next_step
from orchestrator.record import LOST, State, SweepIndex, SweepMember, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder


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
    content["notices"] = [
        f"run {run.number}: {notice}" for run in root.sweep(name).read_runs() for notice in run.notices
    ]
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
    if index.seed_rule is not None:
        content["seed_rule"] = dict(index.seed_rule)
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
        "failure": None,
        "next_step": "",
        "deviations": list(record.deviations),
    }


def _unfinished_status(folder: TrialFolder) -> dict[str, Any]:
    rows, attempts = folder.read_metrics(), folder.read_attempts()
    state = folder.state_of(attempts)
    last = attempts[-1] if attempts else None
    is_told = last is not None and (state is State.FAIL or last.outcome == LOST)
    return {
        "state": state.value,
        "num_epochs": len(rows),
        "num_attempts": folder.num_attempts(),
        "val_acc": rows[-1].val_acc if rows else None,
        "test_acc": None,
        "error": last.error if last is not None and is_told else None,
        "failure": last.failure if last is not None and is_told else None,
        "next_step": next_step(last.failure) if last is not None and state is State.FAIL else "",
        "deviations": list(last.deviations) if last is not None else [],
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
            Text(_remark(trial)),
        )
    console = console_of()
    console.print(table)
    if len(trials) > MAX_ROWS:
        console.print(f"... and {len(trials) - MAX_ROWS:,} more trials (--json lists all)")
    console.print(_sweep_text(content), highlight=False)
    for notice in content["notices"]:
        console.print(Text(notice))


def _sweep_text(content: dict[str, Any]) -> str:
    search = f"; search: {_counts_text(content['search']['states'])}" if "search" in content else ""
    rule = content.get("seed_rule")
    seeds = f"; {rule['min']} to {rule['max']} seeds a cell by a rule" if rule else ""
    return f"{content['sweep']}: {_counts_text(content['states'])}{search}{seeds}"


def _phase_text(trial: dict[str, Any]) -> str:
    return "measure" if trial["proposal"] is None else f"tune {trial['proposal']}"


def _counts_text(states: dict[str, int]) -> str:
    return ", ".join(f"{states[state.value]} {state.value}" for state in State if states.get(state.value))


def _acc(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _remark(trial: dict[str, Any]) -> str:
    """What went wrong, its kind first, and what to do about it; else how the trial was trained otherwise than asked."""
    if trial["error"] is None:
        return "; ".join(trial["deviations"])
    kind = f"{trial['failure'].replace('_', ' ')}: " if trial["failure"] else ""
    advice = f" [next: {trial['next_step']}]" if trial["next_step"] else ""
    return f"{kind}{trial['error']}{advice}"
