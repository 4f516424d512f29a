"""Which waiting trial comes next: the first of those that can use the place that became free.

Tune hands a free actor of given needs to any waiting trial of these needs. Trials come longest first, and a long one
left to the end would keep a whole cluster waiting, so the choice is made here.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from orchestrator.tuning.ray_environment import tune


class InOrder(tune.schedulers.FIFOScheduler):
    """Trials of equal needs start in the order given; those of other needs do not wait for each other."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.freed: deque[Any] = deque()

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self.freed.append(trial.placement_group_factory)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        waiting = [trial for trial in tune_controller.get_trials() if trial.status == trial.PENDING]
        while self.freed:
            needs = self.freed.popleft()
            for trial in waiting:
                if trial.placement_group_factory == needs:
                    return trial
        return waiting[0] if waiting else None
