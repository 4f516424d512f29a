"""What a run tells in, where its trials stand out: the state behind the live table and the plain lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from orchestrator.record import EpochMetrics, State, SweepIndex
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, Event, TrialStarted
from orchestrator.tuning.survey import Standing
from orchestrator.tuning.timing import EpochTimes, Work, work_of

LEFT = (State.WAITING, State.RUNNING)


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
    works: dict[str, Work] = field(default_factory=dict)
    """The kind of each trial, by id."""
    num_of: Counter[Work] = field(default_factory=Counter)
    """Trials of each kind: there may be thousands of trials, and seldom more than hundreds of kinds."""
    num_left: Counter[Work] = field(default_factory=Counter)
    """Those of them that wait or run."""
    proposals: dict[str, int | None] = field(default_factory=dict)
    """The proposal of each search trial, by id."""

    def __post_init__(self) -> None:
        self.works = {trial_id: work_of(trial) for trial_id, trial in self.trials.items()}
        self.num_of = Counter(self.works.values())
        self.num_left = Counter(work for name, work in self.works.items() if self.states[name] in LEFT)
        self.proposals = {member.trial_id: member.proposal for member in self.index.search}

    @property
    def searched(self) -> Collection[str]:
        """Ids of the search trials."""
        return self.proposals.keys()

    @property
    def num_total(self) -> int:
        """Trials of both phases, those whose ids are not known yet included."""
        return len(self.states) + self.index.num_pending + self.index.num_search_pending

    def grow(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        """More trials are known; none of them runs."""
        known = make_board(index, standings, to_run)
        self.index, self.states, self.trials, self.running = index, known.states, known.trials, {}
        self.works, self.num_of, self.num_left = known.works, known.num_of, known.num_left
        self.proposals = known.proposals

    def take(self, event: Event) -> None:
        """Bring the board up to date."""
        if isinstance(event, TrialStarted):
            self._set(event.trial_id, State.RUNNING)
            self.running[event.trial_id] = RunningTrial(self.trials[event.trial_id], time.monotonic())
        elif isinstance(event, EpochFinished):
            trial = self.trials[event.trial_id]
            row = self.running.setdefault(event.trial_id, RunningTrial(trial, time.monotonic()))
            row.metrics = event.metrics
            work = self.works[event.trial_id]
            self.times.add_to(work.family, work.depth, event.metrics.wall_time_s)
            if event.metrics.val_acc is not None:
                self.best_val_acc = max(self.best_val_acc or 0.0, event.metrics.val_acc)
        else:
            self._set(event.trial_id, event.state)
            self.running.pop(event.trial_id, None)

    def label(self, trial_id: str) -> str:
        """The trial's label; that of a search trial names its proposal in place of its seed, which is long."""
        label = self.trials[trial_id].label
        return f"{label.rpartition('-s')[0]}-p{self.proposals[trial_id]}" if trial_id in self.proposals else label

    def num(self, *states: State) -> int:
        return sum(1 for state in self.states.values() if state in states)

    def eta_s(self) -> float | None:
        """Expected seconds to the end, or None until the first epoch has told."""
        epoch_s = {work: self.times.epoch_s_of(work) for work in self.num_of}
        known = [(num, seconds / work.depth) for work, num in self.num_of.items() if (seconds := epoch_s[work])]
        if not known:
            return None
        per_block = sum(num * seconds for num, seconds in known) / sum(num for num, _ in known)

        def expected(work: Work) -> float:
            """Of a family without a measured epoch: the mean time of a block, times the depth."""
            seconds = epoch_s[work]
            return per_block * work.depth if seconds is None else seconds

        total = sum(count * expected(work) * work.num_epochs for work, count in self.num_left.items())
        for trial_id, row in self.running.items():
            work = self.works[trial_id]
            total -= expected(work) * (min(row.metrics.epoch, work.num_epochs) if row.metrics is not None else 0)
        return total / max(1, len(self.running))

    def _set(self, trial_id: str, state: State) -> None:
        work = self.works[trial_id]
        self.num_left[work] += (state in LEFT) - (self.states[trial_id] in LEFT)
        self.states[trial_id] = state


def make_board(index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> Board:
    """The board at the start; what will be trained waits, whatever became of it before."""
    states = {s.trial.trial_id: s.state for s in standings}
    states.update({trial.trial_id: State.WAITING for trial in to_run})
    return Board(index, states, {s.trial.trial_id: s.trial for s in standings})
