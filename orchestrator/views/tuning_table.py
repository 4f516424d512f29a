"""A results root and a sweep's name in; its search as tidy frames, table rows and sentences out.

Search trials are shown and never averaged with measured ones; their test accuracy is not shown at all, because nothing
that was chosen may rest on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.tuned import TunedCell, TunedSweep
from orchestrator.views.curves import name_curves, value_text
from orchestrator.views.trial_rows import TrialRows, open_sweep

SEARCH_TYPES: Mapping[str, str] = {
    "trial_id": "string",
    "cell_id": "string",
    "label": "string",
    "seed": "Int64",
    "proposal": "Int64",
    "state": "string",
    "is_chosen": "boolean",
    "values": "string",
    "val_acc": "float64",
    "val_loss": "float64",
    "num_epochs": "Int64",
    "train_time_s": "float64",
    "num_packed": "Int64",
    "diverged": "string",
    "error": "string",
}
"""The columns of `read_search` besides the axes and the nuisance fields, with their pandas types."""

CHOICE_TYPES: Mapping[str, str] = {
    "cell_id": "string",
    "label": "string",
    "field": "string",
    "range": "string",
    "value": "string",
    "position": "float64",
    "edge": "string",
    "proposal": "Int64",
    "val_acc": "float64",
    "num_proposals": "Int64",
    "num_complete": "Int64",
    "num_diverged": "Int64",
    "num_pruned": "Int64",
    "num_failed": "Int64",
    "num_waiting": "Int64",
}
"""The columns of `read_choices`, with their pandas types."""


def read_search(results: str | Path | ResultsDir, sweep: str) -> pd.DataFrame:
    """One row for each search trial of the sweep, by cell and proposal; no row for a sweep without `tune:`.

    Columns are `SEARCH_TYPES`, the scientific axes and a column for each nuisance field. `state` is what became of the
    trial in this search, PRUNED where another sweep trained it on. `val_acc` is that of the final model, or of a pruned
    trial at the epoch after which it was given up.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index or `tuned.json` is damaged.
    """
    rows = open_sweep(results, sweep)
    tuned = rows.results.sweep(sweep).read_tuned()
    told = _told_by_trial(tuned) if tuned is not None else {}
    trials = TrialRows(rows.results, replace(rows.index, members=rows.index.search)).trials()
    found = [
        {**row, "proposal": member.proposal, **told.get(member.trial_id, {})}
        for row, member in zip(trials, rows.index.search, strict=True)
    ]
    nuisance = list(dict.fromkeys(name for cell in (tuned.cells if tuned else ()) for name in cell.ranges))
    others = [name for name in (*rows.index.axes, *nuisance) if name not in SEARCH_TYPES]
    columns = {name: pd.Series([row.get(name) for row in found], dtype=kind) for name, kind in SEARCH_TYPES.items()}
    columns |= {name: pd.Series([row.get(name) for row in found]).convert_dtypes() for name in others}
    frame = pd.DataFrame(columns)
    frame.attrs = {"sweep": sweep, "axes": list(rows.index.axes), "nuisance": nuisance}
    return frame


def read_choices(results: str | Path | ResultsDir, sweep: str) -> pd.DataFrame:
    """One row for each cell and nuisance field: what was chosen, from which range, how far from its low end.

    `position` is 0..1, in the logarithm for log_uniform; `edge` names the end that the value lies at. Both are missing
    where there is no choice yet. `attrs["tuned"]` is the `TunedSweep`, None for a sweep without `tune:`.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: `tuned.json` is damaged.
    """
    tuned = open_sweep(results, sweep).results.sweep(sweep).read_tuned()
    cells = () if tuned is None else tuned.cells
    names = name_curves([cell.axes for cell in cells])
    rows = [row for cell, name in zip(cells, names, strict=True) for row in _choice_rows(cell, name.cell)]
    frame = pd.DataFrame({n: pd.Series([row.get(n) for row in rows], dtype=kind) for n, kind in CHOICE_TYPES.items()})
    frame.attrs = {"sweep": sweep, "tuned": tuned}
    return frame


def choice_table(choices: pd.DataFrame) -> list[dict[str, str]]:
    """The rows of a `read_choices` frame as texts for people: cell, field, chosen, range, position, proposals."""
    return [
        {
            "cell": row.label or "the only cell",
            "field": row.field,
            "chosen": "none yet" if pd.isna(row.value) else row.value,
            "range": row.range,
            "position": _position_text(row),
            "val accuracy": "" if pd.isna(row.val_acc) else f"{row.val_acc:.3f}",
            "proposals": _counts_text(row),
        }
        for row in choices.itertuples()
    ]


def search_sentence(choices: pd.DataFrame) -> str:
    """How the cells were searched, in a sentence or two; nothing for a sweep without `tune:`."""
    tuned: TunedSweep | None = choices.attrs["tuned"]
    if tuned is None:
        return ""
    fields = ", ".join(dict.fromkeys(choices["field"]))
    made = "quasi-random" if tuned.sampler == "quasi_random" else f"TPE (in batches of {tuned.batch_size})"
    epochs = "the epochs of its cell" if tuned.epochs is None else f"{tuned.epochs} epochs"
    seeds = "one search seed" if len(tuned.seeds) == 1 else f"{len(tuned.seeds)} search seeds"
    pruned = ", those below the median of their cell's earlier batches given up early" if tuned.prune else ""
    return (
        f"Each of {len(tuned.cells)} cells got {tuned.num_trials} {made} proposals of {fields}, each trained for "
        f"{epochs} with {seeds} that no measured trial has{pruned}. The highest accuracy on the validation split was "
        f"chosen; Optuna {tuned.optuna} made the proposals."
    )


def edge_warnings(choices: pd.DataFrame) -> list[str]:
    """A sentence for each chosen value at the edge of its range, where a better one may lie outside."""
    tuned: TunedSweep | None = choices.attrs["tuned"]
    share = 0.0 if tuned is None else tuned.edge_share
    return [
        f"{row.field} of {row.label or 'the only cell'} is {row.value}, at the {row.edge} edge of its range "
        f"{row.range} (within {share:.0%} of it): a better value may lie outside; widen the range."
        for row in choices.itertuples()
        if not pd.isna(row.edge)
    ]


def search_warnings(choices: pd.DataFrame) -> list[str]:
    """A sentence for each cell that is not chosen for, or had fewer proposals to choose from than the others."""
    found = []
    for row in choices.drop_duplicates("cell_id").itertuples():
        cell = row.label or "the only cell"
        if row.num_waiting:
            found.append(f"The search of {cell} is not over: {_counts_text(row)}.")
        elif pd.isna(row.value):
            found.append(f"{cell} is not measured: none of its {row.num_proposals} proposals completed.")
        elif row.num_failed or row.num_diverged:
            found.append(f"{cell} was chosen from fewer proposals: {_counts_text(row)}.")
    return found


def _told_by_trial(tuned: TunedSweep) -> dict[str, dict[str, Any]]:
    """What `tuned.json` says of each trial; of equal proposals, what it says of the first."""
    found: dict[str, dict[str, Any]] = {}
    for cell in tuned.cells:
        chosen = None if cell.choice is None else dict(cell.choice.values)
        for proposal in reversed(cell.proposals):
            values = dict(proposal.values)
            text = ", ".join(f"{name} {_value_text(value)}" for name, value in values.items())
            row: dict[str, Any] = {**values, "values": text, "is_chosen": values == chosen}
            if proposal.state is State.PRUNED:
                row |= {"state": State.PRUNED, "num_epochs": proposal.pruned_epoch, "val_acc": proposal.val_acc}
                row |= {"val_loss": proposal.val_loss}
            found.update(dict.fromkeys(proposal.trial_ids, row))
    return found


def _choice_rows(cell: TunedCell, label: str) -> list[dict[str, Any]]:
    counts = {f"num_{state.value.lower()}": cell.num(state) for state in (State.COMPLETE, State.DIVERGED, State.PRUNED)}
    counts |= {"num_failed": cell.num(State.FAIL), "num_proposals": cell.num_proposals}
    counts["num_waiting"] = cell.num_proposals - sum(
        counts[name] for name in ("num_complete", "num_diverged", "num_pruned", "num_failed")
    )
    rows = []
    for field, written in cell.ranges.items():
        row: dict[str, Any] = {"cell_id": cell.cell_id, "label": label, "field": field, "range": _range_text(written)}
        choice = cell.choice
        if choice is not None:
            row |= {"value": _value_text(choice.values[field]), "position": choice.positions[field]}
            row |= {"edge": choice.edges[field], "proposal": choice.proposal, "val_acc": choice.val_acc}
        rows.append({**row, **counts})
    return rows


def _range_text(written: Any) -> str:
    if isinstance(written, list):
        return "one of " + ", ".join(_value_text(value) for value in written)
    ((kind, (low, high)),) = written.items()
    return f"{_value_text(low)} to {_value_text(high)}" + (" (log)" if kind == "log_uniform" else "")


def _value_text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else value_text(value)


def _position_text(row: Any) -> str:
    if pd.isna(row.position):
        return ""
    edge = "" if pd.isna(row.edge) else f", at the {row.edge} edge"
    return f"{row.position:.0%} of the way up{edge}"


def _counts_text(row: Any) -> str:
    counts = {"diverged": row.num_diverged, "pruned": row.num_pruned, "failed": row.num_failed}
    parts = [f"{row.num_complete} of {row.num_proposals} complete", *(f"{n} {name}" for name, n in counts.items() if n)]
    return ", ".join([*parts, *([f"{row.num_waiting} to come"] if row.num_waiting else [])])
