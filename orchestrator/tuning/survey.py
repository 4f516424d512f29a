"""A grid and a results root in, where each trial stands and why out; writes nothing and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator import provenance
from orchestrator.errors import ResultsError
from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import State, SweepIndex, SweepMember, TrialRecord
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial

DAMAGED = "trained again"
NEW = "new"


@dataclass(frozen=True)
class Standing:
    """Where one trial stands."""

    trial: Trial
    state: State
    record: TrialRecord | None
    note: str = ""
    """Why it has to run, or what is unusual about its record; for people."""
    is_other_code: bool = False
    """Finished, by another code fingerprint than the present one."""

    @property
    def is_finished(self) -> bool:
        return self.state in (State.COMPLETE, State.DIVERGED, State.PRUNED)


def survey(grid: Grid, results: ResultsDir, name: str) -> tuple[Standing, ...]:
    """Where each trial of `grid` stands, in grid order."""
    earlier = _earlier_members(results, name)
    current = {trial.trial_id for trial in grid.trials}
    axes_of = {trial.trial_id: dict(cell.axes) for cell in grid.cells for trial in cell.trials}

    def standing(trial: Trial) -> Standing:
        found = standing_of(trial, results)
        before = earlier.get((_axes_key(axes_of[trial.trial_id]), trial.seed))
        if found.note != NEW or before is None or before.trial_id in current:
            return found
        return replace(found, note="changed: " + _difference(before, trial, results))

    return tuple(standing(trial) for trial in grid.trials)


def notices(standings: Sequence[Standing]) -> list[str]:
    """What a person should know before anything runs: damaged records, and trials that other code finished."""
    damaged = [f"{s.trial.label} is {s.note}" for s in standings if s.note.startswith(DAMAGED)]
    others = [s for s in standings if s.is_other_code]
    if others:
        damaged.append(
            f"{len(others)} of {len(standings)} trials were {others[0].note}; --retrain-changed trains them again"
        )
    return damaged


def build_index(spec: SweepSpec, grid: Grid, search: Sequence[SweepMember] = (), num_unknown: int = 0) -> SweepIndex:
    """What the sweep's folder says about its members.

    Args:
        search: the search trials that are known.
        num_unknown: search trials that are not proposed yet.
    """
    members = tuple(
        SweepMember(trial_id=trial.trial_id, cell_id=cell.cell_id, seed=trial.seed, axes=dict(cell.axes))
        for cell in grid.cells
        for trial in cell.trials
    )
    return SweepIndex(
        name=spec.name,
        axes=tuple(grid.axes),
        members=members,
        search=tuple(search),
        num_pending=sum(len(spec.seeds) for cell in grid.cells if not cell.trials),
        num_search_pending=num_unknown,
        question=spec.question,
        seed_rule=_rule_of(spec),
    )


def _rule_of(spec: SweepSpec) -> dict[str, Any] | None:
    if spec.seed_rule is None:
        return None
    return {"min": len(spec.seeds), "max": spec.seed_rule.max, "ci_half_width": spec.seed_rule.ci_half_width}


def standing_of(trial: Trial, results: ResultsDir) -> Standing:
    """Where one trial stands, by itself."""
    folder = results.trial(trial.trial_id)
    try:
        record = folder.read_record()
    except ResultsError as error:
        return Standing(trial, State.WAITING, None, f"{DAMAGED}: {error}")
    if record is not None:
        is_other = record.provenance.code_fingerprint != provenance.code_fingerprint()
        return Standing(trial, record.state, record, _code_note(record) if is_other else "", is_other)
    attempts = folder.read_attempts()
    state = folder.state_of(attempts)
    if state is State.FAIL:
        return Standing(trial, state, None, f"failed: {attempts[-1].error}")
    if attempts or folder.num_attempts() > 0:
        return Standing(trial, State.WAITING, None, f"interrupted after {len(folder.read_metrics())} epochs")
    return Standing(trial, state, None, NEW)


def _earlier_members(results: ResultsDir, name: str) -> dict[tuple[str, int], SweepMember]:
    """Members of the sweep's last run by (axes, seed); empty for a new sweep."""
    folder = results.sweep(name)
    if not folder.trials_file.exists():
        return {}
    try:
        index = folder.read_index()
    except ResultsError:
        return {}
    return {(_axes_key(member.axes), member.seed): member for member in index.members}


def _axes_key(axes: Mapping[str, Any]) -> str:
    return repr(sorted((name, value) for name, value in axes.items() if value is not None))


def _difference(before: SweepMember, trial: Trial, results: ResultsDir) -> str:
    """The fields that made this trial another one than at the last run."""
    old = results.trial(before.trial_id).read_trial()
    if old is None:
        return f"was {before.trial_id}"
    old_fields, new_fields = _flat(old), _flat(trial.canonical())
    names = [name for name in {**old_fields, **new_fields} if old_fields.get(name) != new_fields.get(name)]
    shown = [f"{name} {old_fields.get(name, 'unset')} -> {new_fields.get(name, 'unset')}" for name in names]
    return ", ".join(shown) or f"was {before.trial_id}"


def _flat(canonical: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in canonical.items():
        if isinstance(value, Mapping):
            flat.update({f"{name}.{key}": inner for key, inner in value.items()})
        else:
            flat[name] = value
    return flat


def _code_note(record: TrialRecord) -> str:
    before, now = record.provenance.versions, provenance.versions()
    changes = [
        f"{n} {before.get(n, 'unknown')} -> {now.get(n)}" for n in ("torch", "timm") if before.get(n) != now.get(n)
    ]
    return "done by other code: " + (", ".join(changes) or "the sources of models/ or training/ changed")
