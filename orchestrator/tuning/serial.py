"""The reference executor: a for loop over trials, or packs of them, in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.errors import UsageError
from orchestrator.record import State
from orchestrator.training.device import pick_device
from orchestrator.trial import Trial
from orchestrator.tuning.events import Event, RunSettings, TrialEnded
from orchestrator.tuning.packed import run_pack
from orchestrator.tuning.packing import make_packs
from orchestrator.tuning.stop_file import is_stop_asked


def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
    """Train `trials` one after the other, or a pack after the other; a stop ends the loop behind what it stopped.

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
    for pack in make_packs(trials, settings):
        if is_stop_asked(settings.stop_file):
            return
        has_stopped = False
        for event in run_pack(pack, settings):
            yield event
            has_stopped |= isinstance(event, TrialEnded) and event.state is State.WAITING
        if has_stopped:
            return
