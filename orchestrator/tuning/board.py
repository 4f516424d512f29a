"""What a run tells in, where its trials stand out: the state behind the live table and the plain lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.record import EpochMetrics, State, SweepIndex
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, Event, TrialStarted
from orchestrator.tuning.survey import Standing
from orchestrator.tuning.timing import EpochTimes


@dataclass
class RunningTrial:
    """A trial that is being trained."""

    trial: Trial
    started: float
    metrics: EpochMetrics | None = None


@dataclass
class Board:
    """The state of a run, kept up to date from events."""

    index: SweepIndex
    states: dict[str, State]
    trials: dict[str, Trial]
    times: EpochTimes = field(default_factory=EpochTimes)
    running: dict[str, RunningTrial] = field(default_factory=dict)
    best_val_acc: float | None = None
    text: str = "starting"
    began: float = field(default_factory=time.monotonic)

    @property
    def searched(self) -> set[str]:
        """Ids of the search trials."""
        return {member.trial_id for member in self.index.search}

    @property
    def num_total(self) -> int:
        """Trials of both phases, those whose ids are not known yet included."""
        return len(self.states) + self.index.num_pending + self.index.num_search_pending

    def grow(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        """More trials are known; none of them runs."""
        known = make_board(index, standings, to_run)
        self.index, self.states, self.trials, self.running = index, known.states, known.trials, {}

    def take(self, event: Event) -> None:
        """Bring the board up to date."""
        if isinstance(event, TrialStarted):
            self.states[event.trial_id] = State.RUNNING
            self.running[event.trial_id] = RunningTrial(self.trials[event.trial_id], time.monotonic())
        elif isinstance(event, EpochFinished):
            trial = self.trials[event.trial_id]
            row = self.running.setdefault(event.trial_id, RunningTrial(trial, time.monotonic()))
            row.metrics = event.metrics
            self.times.add(trial.canonical(), event.metrics.wall_time_s)
            if event.metrics.val_acc is not None:
                self.best_val_acc = max(self.best_val_acc or 0.0, event.metrics.val_acc)
        else:
            self.states[event.trial_id] = event.state
            self.running.pop(event.trial_id, None)

    def label(self, trial_id: str) -> str:
        """The trial's label; that of a search trial names its proposal in place of its seed, which is long."""
        label = self.trials[trial_id].label
        found = [member for member in self.index.search if member.trial_id == trial_id]
        return f"{label.rpartition('-s')[0]}-p{found[0].proposal}" if found else label

    def num(self, *states: State) -> int:
        return sum(1 for state in self.states.values() if state in states)

    def eta_s(self) -> float | None:
        """Expected seconds to the end, or None until the first epoch has told."""
        waiting = [t for t in self.trials if self.states[t] in (State.WAITING, State.RUNNING)]
        total = 0.0
        for trial_id in waiting:
            trial = self.trials[trial_id]
            seconds = self.times.epoch_s(trial)
            if seconds is None:
                seconds = self._scaled_epoch_s(trial)
            if seconds is None:
                return None
            row = self.running.get(trial_id)
            done = row.metrics.epoch if row is not None and row.metrics is not None else 0
            total += seconds * max(0, trial.train.epochs + trial.train.cooldown_epochs - done)
        return total / max(1, len(self.running))

    def _scaled_epoch_s(self, trial: Trial) -> float | None:
        """Of another family: the mean seconds a block of what has been measured, times the depth."""
        per_block = [
            seconds / other.model.depth
            for other in self.trials.values()
            if (seconds := self.times.epoch_s(other)) is not None
        ]
        return sum(per_block) / len(per_block) * trial.model.depth if per_block else None


def make_board(index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> Board:
    """The board at the start; what will be trained waits, whatever became of it before."""
    states = {s.trial.trial_id: s.state for s in standings}
    states.update({trial.trial_id: State.WAITING for trial in to_run})
    return Board(index, states, {s.trial.trial_id: s.trial for s in standings})
