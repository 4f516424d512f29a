"""What a run tells in, where its trials stand out: the state behind the live table and the plain lines."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.record import EpochMetrics, State, SweepIndex
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, Event, TrialStarted
from orchestrator.tuning.survey import Standing
from orchestrator.tuning.timing import EpochTimes, ExpectedTime, Work, work_of

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
    num_places: int = 0
    """Trials that ran at one time, at most."""
    best_val_acc: float | None = None
    text: str = "starting"
    began: float = field(default_factory=time.monotonic)
    works: dict[str, Work] = field(default_factory=dict)
    """The kind of each trial, by id."""
    num_of: Counter[Work] = field(default_factory=Counter)
    """Trials of each kind: there may be thousands of trials, and seldom more than hundreds of kinds."""
    num_left: Counter[Work] = field(default_factory=Counter)
    """Those of them that wait or run."""
    expected_s: dict[Work, float] = field(default_factory=dict)
    """Seconds an epoch of each kind of which something was known before this run."""
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
        self.proposals, self.expected_s = known.proposals, {}

    def expect(self, expected: Mapping[str, ExpectedTime]) -> None:
        """Times of whole trials are known beforehand, by trial_id."""
        known = ((self.works[trial_id], time.seconds) for trial_id, time in expected.items() if time.seconds > 0)
        self.expected_s = {work: seconds / work.num_epochs for work, seconds in known}

    def take(self, event: Event) -> None:
        """Bring the board up to date."""
        if isinstance(event, TrialStarted):
            self._set(event.trial_id, State.RUNNING)
            self.running[event.trial_id] = RunningTrial(self.trials[event.trial_id], time.monotonic())
            self.num_places = max(self.num_places, len(self.running))
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
        """Expected seconds to the end; None before anything runs, or until the first epoch where nothing else tells."""
        epoch_s = self._epoch_times()
        if not (self.num_places and epoch_s):
            return None
        total = sum(count * epoch_s[work] * work.num_epochs for work, count in self.num_left.items())
        for trial_id, row in self.running.items():
            work = self.works[trial_id]
            total -= epoch_s[work] * (min(row.metrics.epoch, work.num_epochs) if row.metrics is not None else 0)
        return total / (self.num_places if self.num(State.WAITING) else max(1, len(self.running)))

    def _epoch_times(self) -> Mapping[Work, float]:
        """Seconds an epoch, by kind: what this run measured; else what was expected, as far as that has held so far;
        else the mean time of a block, times the depth. Empty while nothing is known.
        """
        measured = {work: seconds for work in self.num_of if (seconds := self.times.epoch_s_of(work))}
        errors = [math.log(measured[work] / self.expected_s[work]) for work in measured.keys() & self.expected_s.keys()]
        factor = math.exp(statistics.fmean(errors)) if errors else 1.0
        known = {work: factor * seconds for work, seconds in self.expected_s.items()} | measured
        if not known:
            return {}
        num_known = sum(self.num_of[work] for work in known)
        block_s = sum(self.num_of[work] * seconds / work.depth for work, seconds in known.items()) / num_known
        return {work: known.get(work, block_s * work.depth) for work in self.num_of}

    def _set(self, trial_id: str, state: State) -> None:
        work = self.works[trial_id]
        self.num_left[work] += (state in LEFT) - (self.states[trial_id] in LEFT)
        self.states[trial_id] = state


def make_board(index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> Board:
    """The board at the start; what will be trained waits, whatever became of it before."""
    states = {s.trial.trial_id: s.state for s in standings}
    states.update({trial.trial_id: State.WAITING for trial in to_run})
    return Board(index, states, {s.trial.trial_id: s.trial for s in standings})
