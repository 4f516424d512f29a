"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere; all of it on stderr.

The table has a row a running trial, the grid filling in (a mark a seed), and the time left from epochs measured so far,
by depth.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.record import EpochMetrics, State, SweepIndex
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, Event, TrialEnded, TrialStarted
from orchestrator.tuning.survey import Standing, notices
from orchestrator.tuning.timing import EpochTimes

MARKS = {
    State.WAITING: ("·", "dim"),
    State.RUNNING: ("◐", "yellow"),
    State.COMPLETE: ("●", "green"),
    State.PRUNED: ("○", "dim"),
    State.DIVERGED: ("✗", "magenta"),
    State.FAIL: ("!", "bold red"),
}
LONG_AGO_S = 60.0


@dataclass
class _Running:
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
    running: dict[str, _Running] = field(default_factory=dict)
    best_val_acc: float | None = None
    text: str = "starting"
    began: float = field(default_factory=time.monotonic)

    def take(self, event: Event) -> None:
        """Bring the board up to date."""
        if isinstance(event, TrialStarted):
            self.states[event.trial_id] = State.RUNNING
            self.running[event.trial_id] = _Running(self.trials[event.trial_id], time.monotonic())
        elif isinstance(event, EpochFinished):
            trial = self.trials[event.trial_id]
            row = self.running.setdefault(event.trial_id, _Running(trial, time.monotonic()))
            row.metrics = event.metrics
            self.times.add(trial.canonical(), event.metrics.wall_time_s)
            if event.metrics.val_acc is not None:
                self.best_val_acc = max(self.best_val_acc or 0.0, event.metrics.val_acc)
        else:
            self.states[event.trial_id] = event.state
            self.running.pop(event.trial_id, None)

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


class LiveTable:
    """Listener for a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.board: Board | None = None
        self.live: Live | None = None

    def start(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        self.board = _board(index, standings, to_run)
        for notice in notices(standings):
            self.console.print(f"notice: {escape(notice)}", highlight=False, soft_wrap=True)
        self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=2, transient=False)
        self.live.start()

    def phase(self, text: str) -> None:
        if self.board is not None:
            self.board.text = text

    def event(self, event: Event) -> None:
        assert self.board is not None
        self.board.take(event)
        self.board.text = "training"

    def close(self) -> None:
        if self.live is not None:
            if self.board is not None:
                self.board.text = "ended"
            self.live.stop()
            self.live = None

    def _render(self) -> RenderableType:
        assert self.board is not None
        return Group(_headline(self.board), _grid_table(self.board), _running_table(self.board))


class PlainLines:
    """Listener for a log: a line a trial, and one a minute for a trial that runs."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.board: Board | None = None
        self.last_line: dict[str, float] = {}

    def start(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        self.board = _board(index, standings, to_run)
        for notice in notices(standings):
            self._say(f"notice: {notice}")
        num_done = self.board.num(State.COMPLETE, State.DIVERGED)
        self._say(f"{index.name}: {len(standings)} trials, {num_done} done before, {len(to_run)} to run")

    def phase(self, text: str) -> None:
        self._say(text)

    def event(self, event: Event) -> None:
        assert self.board is not None
        self.board.take(event)
        if isinstance(event, EpochFinished):
            now = time.monotonic()
            if now - self.last_line.setdefault(event.trial_id, now) > LONG_AGO_S:
                self.last_line[event.trial_id] = now
                self._say(f"{self.board.trials[event.trial_id].label} {_epoch_text(event.metrics)}")
        elif isinstance(event, TrialEnded):
            self._say(self._ended_line(event))

    def close(self) -> None:
        pass

    def _ended_line(self, event: TrialEnded) -> str:
        assert self.board is not None
        num_done = len(self.board.states) - self.board.num(State.WAITING, State.RUNNING)
        parts = [f"[{num_done}/{len(self.board.states)}] {self.board.trials[event.trial_id].label}"]
        if event.record is not None and event.record.test_acc is not None:
            parts.append(f"test accuracy {event.record.test_acc:.3f} in {duration(event.record.train_time_s)}")
        elif event.state is State.WAITING:
            parts.append("stopped, saved")
        else:
            parts.append(f"{event.state}: {event.error or (event.record.diverged if event.record else '')}")
        eta = self.board.eta_s()
        if eta:
            parts.append(f"{duration(eta)} left")
        return ", ".join(parts)

    def _say(self, text: str) -> None:
        self.console.print(escape(text), highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _board(index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> Board:
    states = {s.trial.trial_id: s.state for s in standings}
    states.update({trial.trial_id: State.WAITING for trial in to_run})
    return Board(index, states, {s.trial.trial_id: s.trial for s in standings})


def _epoch_text(metrics: EpochMetrics) -> str:
    parts = [f"epoch {metrics.epoch}", f"train loss {metrics.train_loss:.3f}"]
    if metrics.val_acc is not None:
        parts.append(f"val accuracy {metrics.val_acc:.3f}")
    return ", ".join(parts)


def _headline(board: Board) -> Text:
    num_done = board.num(State.COMPLETE)
    parts = [f"{num_done}/{len(board.states)} trials done"]
    parts += [f"{n} {state.lower()}" for state in (State.DIVERGED, State.FAIL) if (n := board.num(state))]
    parts.append(f"{duration(time.monotonic() - board.began)} so far")
    eta = board.eta_s()
    parts.append("time left unknown until the first epoch" if eta is None else f"about {duration(eta)} left")
    if board.best_val_acc is not None:
        parts.append(f"best val accuracy {board.best_val_acc:.3f}")
    return Text.assemble((board.index.name, "bold"), "  ", " · ".join(parts), "  ", (board.text, "dim"))


def _grid_table(board: Board) -> Table:
    """Depth to the right, the other axes downwards, a mark a seed."""
    columns: dict[Any, None] = {}
    rows: dict[str, dict[Any, Text]] = {}
    for member in board.index.members:
        depth = member.axes.get("depth", "all")
        others = {k: v for k, v in member.axes.items() if k != "depth" and v is not None}
        label = " ".join(f"{v}" if k == "attention" else f"{k} {v}" for k, v in others.items())
        mark, style = MARKS[board.states[member.trial_id]]
        columns.setdefault(depth)
        rows.setdefault(label, {}).setdefault(depth, Text()).append(mark, style)
    table = Table(box=None, padding=(0, 2), header_style="dim")
    table.add_column("depth")
    for depth in columns:
        table.add_column(str(depth))
    for label, marks in list(rows.items())[:20]:
        table.add_row(Text(label or "-"), *[marks.get(depth, Text("")) for depth in columns])
    return table


def _running_table(board: Board) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("running", "epoch", "train loss", "val loss", "val accuracy", "s/epoch"):
        table.add_column(name, justify="left" if name == "running" else "right")
    labels = Counter(row.trial.label for row in board.running.values())
    for trial_id, row in list(board.running.items())[:20]:
        metrics, trial = row.metrics, row.trial
        label = trial.label if labels[trial.label] == 1 else f"{trial.label} {trial_id[:6]}"
        num_epochs = trial.train.epochs + trial.train.cooldown_epochs
        table.add_row(
            Text(label),
            f"{metrics.epoch if metrics else 0}/{num_epochs}",
            f"{metrics.train_loss:.3f}" if metrics else "",
            f"{metrics.val_loss:.3f}" if metrics and metrics.val_loss is not None else "",
            f"{metrics.val_acc:.3f}" if metrics and metrics.val_acc is not None else "",
            f"{metrics.wall_time_s:.1f}" if metrics else "",
        )
    return table
