"""Trials that one process trains together in; what happens to each of them out: as many attempts, taking turns.

Each attempt has its lease, its files and its log; a context of its own (`contextvars`) keeps apart what they say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import copy_context

from orchestrator.training.pack import Pack
from orchestrator.trial import Trial
from orchestrator.tuning.attempt import run_attempt
from orchestrator.tuning.events import EpochFinished, Event, RunSettings, TrialStarted


def run_pack(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
    """Train `trials`: stacked where they are several, until each has ended.

    Raises:
        NotReadyError: nothing can be trained here; all of them wait, from their checkpoints.
    """
    pack = Pack({trial.trial_id for trial in trials}) if len(trials) > 1 else None
    turns = {trial.trial_id: (copy_context(), run_attempt(trial, settings, pack)) for trial in trials}
    try:
        yield from map(TrialStarted, turns)
        while turns:
            for trial_id, (context, attempt) in list(turns.items()):
                try:
                    row = context.run(next, attempt)
                except StopIteration as stop:
                    del turns[trial_id]
                    if pack is not None:
                        pack.leave(trial_id)
                    yield stop.value
                    continue
                if row is not None:
                    yield EpochFinished(trial_id, row)
    finally:
        for context, attempt in turns.values():
            context.run(attempt.close)
