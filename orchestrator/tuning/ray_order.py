"""Which waiting trial comes next: the first of those that can use the place that became free.

Tune hands a free actor of given needs to any waiting trial of these needs. Trials come longest first, and a long one
left to the end would keep a whole cluster waiting, so the choice is made here. A trial whose own worker is starting
keeps it: handed a free one, it would have the other killed, and short trials would never leave it the seconds it needs.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

from orchestrator.tuning.ray_environment import tune


class InOrder(tune.schedulers.FIFOScheduler):
    """Trials of equal needs start in the order given, those whose workers are starting last; those of other needs do
    not wait for each other.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.freed: deque[Any] = deque()

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.freed.append(trial.placement_group_factory)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        waiting = [trial for trial in tune_controller.get_trials() if trial.status == trial.PENDING]
        waiting.sort(key=partial(_has_starting_worker, tune_controller))
        while self.freed:
            needs = self.freed.popleft()
            for trial in waiting:
                if trial.placement_group_factory == needs:
                    return trial
        return waiting[0] if waiting else None


def _has_starting_worker(tune_controller: Any, trial: Any) -> bool:
    """Whether a process was started for a trial that waits."""
    actor = tune_controller._trial_to_actor.get(trial)
    return actor is not None and bool(tune_controller._actor_manager.is_actor_started(actor))
