"""The frames of a sweep in; what the page's template shows out, as plain texts and lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from orchestrator.record import State
from orchestrator.views.curves import field_name, value_text
from orchestrator.views.plots_axes import short_count
from orchestrator.views.sentences import axis_heading, percent

MAX_ROWS = 500
"""Longer lists go on in the CSV files."""

ABSENT = "\N{EN DASH}"

ENVIRONMENT: Mapping[str, str] = {
    "versions": "Versions",
    "device": "Device",
    "host": "Host",
    "commit": "Git commit",
    "code_fingerprint": "Code fingerprint",
    "protocol": "Protocol",
    "data_fingerprint": "Dataset fingerprint",
    "executor": "Executor",
    "command": "Command",
}


@dataclass(frozen=True)
class TextTable:
    """Rows of texts under headings."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    num_more: int
    """Rows that are left out."""


def cell_table(cells: pd.DataFrame) -> TextTable:
    """A row a cell: its axes, what it cost, how many seeds, its accuracies, and what went wrong."""
    axes = [axis for axis in cells.attrs["axes"] if axis in cells.columns]
    headings = [
        *(axis_heading(axis) for axis in axes),
        "parameters",
        "FLOPs",
        "seeds",
        "test acc. (%)",
        "95 % interval",
    ]
    rows = []
    for _, cell in cells.head(MAX_ROWS).iterrows():
        counts = [_count(cell["num_params"]), _count(cell["flops"]), f"{cell['n']} of {cell['num_trials']}"]
        accs = [_percent(cell["test_acc"]), _interval(cell), _percent(cell["test_acc_sd"]), _percent(cell["val_acc"])]
        values = [_value(axis, cell[axis]) for axis in axes]
        rows.append((*values, *counts, *accs, _remarks(cell), str(cell["cell_id"])))
    return TextTable((*headings, "sd", "val. acc. (%)", "remarks", "cell"), tuple(rows), max(0, len(cells) - MAX_ROWS))


def lost_table(table: pd.DataFrame) -> TextTable:
    """A row a trial that has no place in a mean, and why."""
    lost = table[table["state"] != State.COMPLETE]
    rows = tuple(
        (str(trial["label"]), str(trial["seed"]), str(trial["state"]), _reason(trial), str(trial["trial_id"]))
        for _, trial in lost.head(MAX_ROWS).iterrows()
    )
    return TextTable(("cell", "seed", "state", "reason", "trial"), rows, max(0, len(lost) - MAX_ROWS))


def environment(table: pd.DataFrame) -> list[tuple[str, list[tuple[str, int]]]]:
    """For each property its values, and how many finished or diverged trials have each; most frequent first."""
    ended = table[table["state"].isin([State.COMPLETE, State.DIVERGED])]
    commits = [_commit(*both) for both in zip(ended["git_commit"], ended["git_dirty"], strict=True)]
    ended = ended.assign(commit=pd.Series(commits, index=ended.index, dtype="string"))
    found = []
    for column, title in ENVIRONMENT.items():
        counts = ended[column].dropna().astype("string").value_counts()
        values = sorted(((str(value), int(count)) for value, count in counts.items()), key=lambda v: (-v[1], v[0]))
        if values:
            found.append((title, values))
    return found


def cost(table: pd.DataFrame) -> str:
    """What the finished and diverged trials took together."""
    ended = table[table["state"].isin([State.COMPLETE, State.DIVERGED])]
    if ended.empty:
        return ""
    shares_s = ended["wall_time_s"] / ended["num_packed"].fillna(1)  # seeds of a pack share their time
    time, memory = duration(float(shares_s.sum())), float(ended["peak_memory_mib"].max())
    return (
        f"{len(ended)} trials took {time} together, one after the other; the largest needed {memory:.0f} MiB of memory."
    )


def forecast_table(table: pd.DataFrame) -> TextTable:
    """A row a cell whose time was known beforehand: what its finished trials were expected to take, and what they took.

    Times are means over trials; memory is on a GPU alone. Trials that were packed have a row of their own, which says
    so and compares nothing: what they took was taken by all seeds of the pack.
    """
    known = table[(table["state"] == State.COMPLETE) & table["predicted_time_s"].notna()]
    columns = ["predicted_time_s", "train_time_s", "predicted_memory_mib", "peak_memory_mib"]
    rows = []
    for (label, num_packed), trials in known.groupby(["label", "num_packed"], sort=False, observed=True):
        expected, took, expected_mib, needed_mib = (float(trials[column].mean()) for column in columns)
        memory = (ABSENT, ABSENT) if pd.isna(expected_mib) else (f"{expected_mib:,.0f}", f"{needed_mib:,.0f}")
        ratio = f"{took / expected:.2f}" if expected else ABSENT
        if num_packed > 1:
            label, ratio, memory = f"{label}, {num_packed} seeds in one pass", ABSENT, (ABSENT, ABSENT)
        rough = "~" * bool(trials["is_predicted_roughly"].any())
        rows.append((str(label), str(len(trials)), rough + duration(expected), duration(took), ratio, *memory))
    headings = ("cell", "trials", "expected", "took", "took / expected", "expected MiB", "needed MiB")
    return TextTable(headings, tuple(rows[:MAX_ROWS]), max(0, len(rows) - MAX_ROWS))


def duration(seconds: float) -> str:
    """A time in the two largest units that matter.

    >>> duration(3725)
    '1 h 2 min'
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def commits(table: pd.DataFrame) -> list[str]:
    """The commits that finished trials were made from, each once."""
    return sorted(str(commit) for commit in table["git_commit"].dropna().unique())


def _commit(commit: Any, is_dirty: Any) -> str | None:
    if pd.isna(commit):
        return None
    return f"{commit}{' with uncommitted changes' * (pd.notna(is_dirty) and bool(is_dirty))}"


def _reason(trial: pd.Series) -> str:
    if pd.notna(trial["diverged"]):
        return str(trial["diverged"])
    epochs = 0 if pd.isna(trial["num_epochs"]) else int(trial["num_epochs"])
    done = f"{epochs} epoch{'s' * (epochs != 1)} so far" if epochs else ""
    if trial["state"] == State.WAITING and pd.isna(trial["error"]):
        return f"stopped, {done}" if epochs else "not started" if trial["num_attempts"] == 0 else "stopped"
    if pd.notna(trial["error"]):
        return str(trial["error"])
    return done or "started"


def _remarks(cell: pd.Series) -> str:
    counts = [(cell["num_diverged"], "diverged"), (cell["num_failed"], "failed"), (cell["num_missing"], "missing")]
    counts.append((cell["num_other_protocol"], "of another protocol"))
    counts.append((cell["num_deviating"], "not as asked"))
    remarks = [f"{count} {word}" for count, word in counts if count > 0]
    remarks += ["mixed code"] * bool(cell["is_mixed_code"]) + ["mixed devices"] * bool(cell["is_mixed_device"])
    remarks += ["seeds packed and alone"] * bool(cell["is_mixed_packing"])
    return ", ".join(remarks)


def _value(axis: str, value: Any) -> str:
    if pd.isna(value):
        return ABSENT
    if isinstance(value, float):
        return f"{value:.12g}"
    text = value_text(value)
    return text.rpartition(":")[2] if field_name(axis) == "attention" else text


def _count(value: Any) -> str:
    return ABSENT if pd.isna(value) else short_count(float(value))


def _percent(value: Any) -> str:
    return ABSENT if pd.isna(value) else percent(value)


def _interval(cell: pd.Series) -> str:
    if pd.isna(cell["test_acc_low"]):
        return ABSENT
    return f"{percent(cell['test_acc_low'])} to {percent(cell['test_acc_high'])}"
