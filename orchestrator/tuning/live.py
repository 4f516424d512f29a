"""What a person sees while a sweep runs: a live table on a terminal, plain lines elsewhere; all of it on stderr.

The table has a row a running trial, the grid filling in (a mark a seed), and the time left: by the epochs measured so
far, and where there are none, by what was expected.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from orchestrator.record import EpochMetrics, State, SweepIndex
from orchestrator.trial import Trial
from orchestrator.tuning.board import Board, make_board
from orchestrator.tuning.events import EpochFinished, Event, TrialEnded
from orchestrator.tuning.survey import Standing, notices
from orchestrator.tuning.timing import ExpectedTime

MARKS = {
    State.WAITING: ("·", "dim"),
    State.RUNNING: ("◐", "yellow"),
    State.COMPLETE: ("●", "green"),
    State.PRUNED: ("○", "dim"),
    State.DIVERGED: ("✗", "magenta"),
    State.FAIL: ("!", "bold red"),
}
LONG_AGO_S = 60.0
OVER = (State.COMPLETE, State.DIVERGED, State.PRUNED)


class LiveTable:
    """Listener for a terminal."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.board: Board | None = None
        self.live: Live | None = None

    def start(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        self.board = make_board(index, standings, to_run)
        for notice in notices(standings):
            self.console.print(f"notice: {escape(notice)}", highlight=False, soft_wrap=True)
        self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=2, transient=False)
        self.live.start()

    def grow(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        assert self.board is not None
        self.board.grow(index, standings, to_run)

    def phase(self, text: str) -> None:
        if self.board is not None:
            self.board.text = text

    def waiting(self, expected: Mapping[str, ExpectedTime]) -> None:
        assert self.board is not None
        self.board.expect(expected)

    def event(self, event: Event) -> None:
        assert self.board is not None
        self.board.take(event)
        self.board.text = "searching" if event.trial_id in self.board.searched else "training"

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
        self.board = make_board(index, standings, to_run)
        for notice in notices(standings):
            self._say(f"notice: {notice}")
        num_done = self.board.num(*OVER)
        self._say(f"{index.name}: {_total_text(index)}, {num_done} done before, {_to_run_text(self.board, to_run)}")

    def grow(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        assert self.board is not None
        self.board.grow(index, standings, to_run)
        if to_run:
            self._say(f"{index.name}: {_total_text(index)}, {_to_run_text(self.board, to_run)}")

    def phase(self, text: str) -> None:
        self._say(text)

    def waiting(self, expected: Mapping[str, ExpectedTime]) -> None:
        assert self.board is not None
        self.board.expect(expected)

    def event(self, event: Event) -> None:
        assert self.board is not None
        self.board.take(event)
        if isinstance(event, EpochFinished):
            now = time.monotonic()
            if now - self.last_line.setdefault(event.trial_id, now) > LONG_AGO_S:
                self.last_line[event.trial_id] = now
                self._say(f"{self.board.label(event.trial_id)} {_epoch_text(event.metrics)}")
        elif isinstance(event, TrialEnded):
            self._say(self._ended_line(event))

    def close(self) -> None:
        pass

    def _ended_line(self, event: TrialEnded) -> str:
        assert self.board is not None
        num_done = len(self.board.states) - self.board.num(State.WAITING, State.RUNNING)
        parts = [f"[{num_done}/{self.board.num_total}] {self.board.label(event.trial_id)}"]
        if event.record is not None and event.trial_id in self.board.searched and event.record.val_acc is not None:
            parts.append(f"val accuracy {event.record.val_acc:.3f} in {duration(event.record.train_time_s)}")
        elif event.record is not None and event.record.test_acc is not None:
            parts.append(f"test accuracy {event.record.test_acc:.3f} in {duration(event.record.train_time_s)}")
        elif event.state is State.WAITING:
            parts.append("stopped, saved")
        elif event.state is State.PRUNED:
            parts.append("pruned")
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


def _total_text(index: SweepIndex) -> str:
    """How many trials there are; those of a search apart."""
    num_search = len(index.search) + index.num_search_pending
    measured = f"{len(index.members) + index.num_pending} trials"
    return f"{measured} after a search of {num_search}" if num_search else measured


def _to_run_text(board: Board, to_run: Sequence[Trial]) -> str:
    searched = board.searched
    num_search = sum(trial.trial_id in searched for trial in to_run)
    return f"{num_search} search trials to run" if num_search else f"{len(to_run)} to run"


def _epoch_text(metrics: EpochMetrics) -> str:
    parts = [f"epoch {metrics.epoch}", f"train loss {metrics.train_loss:.3f}"]
    if metrics.val_acc is not None:
        parts.append(f"val accuracy {metrics.val_acc:.3f}")
    return ", ".join(parts)


def _headline(board: Board) -> Text:
    num_done = board.num(State.COMPLETE)
    parts = [f"{num_done}/{board.num_total} trials done"]
    parts += [f"{n} pruned"] if (n := board.num(State.PRUNED)) else []
    parts += [f"{n} {state.lower()}" for state in (State.DIVERGED, State.FAIL) if (n := board.num(state))]
    parts.append(f"{duration(time.monotonic() - board.began)} so far")
    eta = board.eta_s()
    if eta is not None:
        parts.append(f"about {duration(eta)} left")
    elif board.running:
        parts.append("time left unknown until the first epoch")
    if board.best_val_acc is not None:
        parts.append(f"best val accuracy {board.best_val_acc:.3f}")
    return Text.assemble((board.index.name, "bold"), "  ", " · ".join(parts), "  ", (board.text, "dim"))


def _grid_table(board: Board) -> Table:
    """Depth to the right, the other axes downwards, a mark a seed."""
    columns: dict[Any, None] = {}
    rows: dict[str, dict[Any, Text]] = {}
    for member in board.index.all_members:
        depth = member.axes.get("depth", "all")
        others = {k: v for k, v in member.axes.items() if k != "depth" and v is not None}
        label = " ".join(f"{v}" if k == "attention" else f"{k} {v}" for k, v in others.items())
        label = f"search {label}".strip() if member.phase == "tune" else label
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
    names = {trial_id: board.label(trial_id) for trial_id in board.running}
    labels = Counter(names.values())
    for trial_id, row in list(board.running.items())[:20]:
        metrics, trial, label = row.metrics, row.trial, names[trial_id]
        label = label if labels[label] == 1 else f"{label} {trial_id[:6]}"
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
