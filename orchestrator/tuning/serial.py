"""The reference executor: a for loop over trials in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.record import State
from orchestrator.training.device import pick_device
from orchestrator.trial import Trial
from orchestrator.tuning.attempt import run_attempt
from orchestrator.tuning.events import EpochFinished, Event, RunSettings, TrialEnded, TrialStarted
from orchestrator.tuning.stop_file import is_stop_asked


def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
    """Train `trials` one after the other; a stop ends the loop behind the trial that it stopped.

    Raises:
        NotReadyError: a GPU is asked for and none is visible, or a disk is full.
    """
    for trial in trials:
        pick_device(settings.resources_of(trial).gpus)
    for trial in trials:
        if is_stop_asked(settings.stop_file):
            return
        yield TrialStarted(trial.trial_id)
        run = run_attempt(trial, settings)
        while True:
            try:
                yield EpochFinished(trial.trial_id, next(run))
            except StopIteration as stop:
                ended: TrialEnded = stop.value
                break
        yield ended
        if ended.state is State.WAITING:
            return
