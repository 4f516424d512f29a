"""The reference executor: a for loop over trials in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.errors import UsageError
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
        UsageError: a trial asks for several workers.
    """
    for trial in trials:
        resources = settings.resources_of(trial)
        if resources.workers > 1:
            raise UsageError(
                f"the serial executor trains in one process, and {trial.label} asks for resources.workers: "
                f"{resources.workers}; leave out --executor serial, or write workers: 1"
            )
        pick_device(resources.gpus)
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
