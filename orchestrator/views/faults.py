"""Trials and epochs of a sweep in; what to know of failures, deviations and spikes out, in sentences."""

from __future__ import annotations

import pandas as pd

from orchestrator.failure import next_step
from orchestrator.record import State
from orchestrator.views.loss_spikes import find_spikes
from orchestrator.views.sentences import name_some, quote
from orchestrator.views.table import plain_values


def find_fault_caveats(table: pd.DataFrame, epochs: pd.DataFrame) -> list[str]:
    """A sentence or two for each: trials that FAILed, that were not trained as asked, whose loss jumped."""
    return [*_failures(table), *_deviations(table), *_spikes(table, epochs)]


def _failures(table: pd.DataFrame) -> list[str]:
    failed = table[table["state"] == State.FAIL]
    if failed.empty:
        return []
    told = []
    for kind, trials in failed.fillna({"failure": "unknown"}).groupby("failure", sort=False):
        advice = next_step(str(kind))
        told.append(f"{len(trials)} {str(kind).replace('_', ' ')}{f' ({advice})' if advice else ''}")
    what = "trial has" if len(failed) == 1 else "trials have"
    return [f"{len(failed)} {what} failed and stand in no mean, by kind: {'; '.join(told)}."]


def _deviations(table: pd.DataFrame) -> list[str]:
    """Cells whose means hold trials that were trained otherwise than asked."""
    marked = table[(table["state"] == State.COMPLETE) & table["deviations"].notna()]
    names = []
    for label, trials in marked.groupby("label", sort=False):
        told = list(dict.fromkeys(trials["deviations"]))
        more = f", and {len(told) - 1} more kinds" if len(told) > 1 else ""
        names.append(f"{quote(str(label))} ({len(trials)} trials: {told[0]}{more})")
    return [f"Means hold trials that were not trained as asked: {name_some(names)}."] if names else []


def _spikes(table: pd.DataFrame, epochs: pd.DataFrame) -> list[str]:
    losses: dict[str, list[tuple[int, float]]] = {}
    trials, numbers = plain_values(epochs["trial_id"]), plain_values(epochs["epoch"])
    for trial_id, epoch, loss in zip(trials, numbers, epochs["train_loss"].tolist(), strict=True):
        losses.setdefault(trial_id, []).append((epoch, loss))
    found = []
    for trial_id, label, seed in zip(*(plain_values(table[n]) for n in ("trial_id", "label", "seed")), strict=True):
        rows = losses.get(trial_id, [])
        places = [str(rows[index][0]) for index in find_spikes([loss for _, loss in rows])]
        if places:
            found.append(f"{quote(f'{label}, seed {seed}')} (epoch {', '.join(places)})")
    if not found:
        return []
    what = "1 trial" if len(found) == 1 else f"{len(found)} trials"
    return [f"The training loss of {what} jumped and was still a number; they count as they ended: {name_some(found)}."]
