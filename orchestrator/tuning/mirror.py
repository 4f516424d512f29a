"""What happens in a run in, the sweep's MLflow runs kept up to date out, by a thread of its own.

Nothing here can hold up or end a run: the caller only leaves a note that a trial's folder has grown, and the thread
reads the rest from the files. A fault is told once; the thread tries again now and then, and a last time at the end.
The thread shares Python's lock with what else this process does. So MLflow is imported and its store in the results
folder made while Ray starts, before the first trial, and what a write took decides how long the thread rests after it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator import durable, places
from orchestrator.errors import OrchestratorError
from orchestrator.record import SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.depth_points import NameCurves
from orchestrator.tuning.events import Event, TrialEnded
from orchestrator.tuning.survey import Standing
from orchestrator.tuning.sync import SweepWriter, open_sweep, sync
from orchestrator.tuning.timing import ExpectedTime
from orchestrator.wording import orch_command

SECONDS_BETWEEN_WRITES = 1.0
SECONDS_BETWEEN_TRIES = 60.0
SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_BE_READY = 60.0
SHARE_OF_TIME = 0.01
"""Of one core, that writing takes while trials run."""
MAX_SECONDS_OF_REST = 60.0
SECONDS_TO_CLOSE = 60.0
SECONDS_TO_CLOSE_ON_A_FAULT = 10.0
"""How long the end of a run waits for a tracking server, and for one that was seen to fail."""


class Mirror:
    """A listener of `run_sweep` that mirrors it to MLflow."""

    def __init__(
        self,
        results: ResultsDir,
        name_curves: NameCurves,
        warn: Callable[[str], None],
        *,
        tracking_uri: str | None = None,
        pause_s: float = SECONDS_BETWEEN_WRITES,
        retry_s: float = SECONDS_BETWEEN_TRIES,
        share: float = SHARE_OF_TIME,
    ) -> None:
        """`warn` takes one sentence for a person and is called at most once, perhaps from another thread."""
        self._results, self._name_curves, self._warn, self._uri = results, name_curves, warn, tracking_uri
        self._pause_s, self._retry_s, self._share = pause_s, retry_s, share
        self._may_begin, self._is_ready = threading.Event(), threading.Event()
        self._notes: deque[tuple[str, bool]] = deque()
        self._running: set[str] = set()
        self._news, self._closing, self._failed = threading.Event(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._index: SweepIndex | None = None
        self._is_current, self._is_training, self._sweep = True, False, ""
        self._has_warned = False

    def start(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        """Begin, if there is anything to train, or an earlier run could not write all it had.

        What a run leaves as it was needs no writing.
        """
        mark = self._results.sweep(index.name).mlflow_behind_file
        if to_run or mark.exists():
            self._is_current, self._is_training, self._sweep = False, bool(to_run), index.name
            self._index = index
            self._mark_behind(mark)
            if not to_run:
                self._may_begin.set()
            self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
            self._thread.start()

    def grow(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        """Leave a note of the trials that are known now."""
        self._index = index
        self._is_training = self._is_training or bool(to_run)
        if self._thread is None:
            self.start(index, standings, to_run)
        self._news.set()

    def phase(self, text: str) -> None:
        """Nothing to mirror."""

    def waiting(self, expected: Mapping[str, ExpectedTime]) -> None:
        """Import MLflow now."""
        self._may_begin.set()

    def event(self, event: Event) -> None:
        """Leave a note; returns at once, the first time as soon as MLflow is imported and its store is made."""
        if self._thread is not None:
            self._may_begin.set()
            self._is_ready.wait(SECONDS_TO_BE_READY)
        self._notes.append((event.trial_id, not isinstance(event, TrialEnded)))
        self._news.set()

    def close(self, timeout_s: float = SECONDS_TO_CLOSE) -> bool:
        """Write what is left, for `timeout_s` seconds at most; returns whether MLflow says what the files say.

        A server that was seen to fail is waited for no longer than `SECONDS_TO_CLOSE_ON_A_FAULT`; Ctrl-C ends the wait.
        """
        self._closing.set()
        self._may_begin.set()
        self._news.set()
        if self._thread is not None:
            with suppress(KeyboardInterrupt):  # what is missing is told below
                _join(self._thread, timeout_s, self._failed)
        if not self._is_current:
            self._tell(f"MLflow is behind the results folder, which has every number; run `{self._again}`")
        return self._is_current

    @property
    def _again(self) -> str:
        return orch_command(["sync", self._sweep], self._results.root)

    def _mark_behind(self, mark: Path) -> None:
        """Leave the mark that says so until MLflow has everything: a run that is killed tells nobody."""
        try:
            durable.write_text(mark, "MLflow does not have all of this sweep yet\n")
        except OrchestratorError as error:
            self._tell(f"{error}; `{self._again}` brings MLflow up to date")

    def _work(self) -> None:
        self._may_begin.wait()
        try:
            with suppress(OrchestratorError):  # it is told where the store is opened
                self._make_store()
        finally:
            self._is_ready.set()
        while True:
            assert self._index is not None
            try:
                with open_sweep(self._results, self._index, self._name_curves, tracking_uri=self._uri) as writer:
                    self._write_until_closed(writer)
                self._is_current = True
                return
            except OrchestratorError as error:
                self._failed.set()
                self._tell(f"{error}; training goes on" if self._is_training else str(error))
            if self._closing.is_set():
                return
            self._closing.wait(self._retry_s)

    def _make_store(self) -> None:
        """Import MLflow, and make the store in the results folder where it is missing and is the one in use."""
        from orchestrator.tuning.tracking import explained, local_uri

        if places.tracking_uri(self._uri) is None:
            place, lock = self._results.mlflow_db, self._results.mlflow_lock_file
            with explained(str(place), self._again), durable.hold(lock, "the MLflow store", wait=True):
                local_uri(place)

    def _write_until_closed(self, writer: SweepWriter) -> None:
        while True:
            is_last = self._closing.is_set()
            self._news.clear()
            began = time.thread_time()
            assert self._index is not None
            writer.grow(self._index)
            changed = self._take_notes()
            writer.update(changed, frozenset() if is_last else frozenset(self._running), is_last=is_last)
            self._failed.clear()
            if is_last:
                return
            self._closing.wait(self._rest_after(time.thread_time() - began))
            self._news.wait()

    def _rest_after(self, worked_s: float) -> float:
        return max(self._pause_s, min(worked_s / self._share, MAX_SECONDS_OF_REST))

    def _take_notes(self) -> set[str]:
        changed = set()
        while self._notes:
            trial_id, is_running = self._notes.popleft()
            changed.add(trial_id)
            (self._running.add if is_running else self._running.discard)(trial_id)
        return changed

    def _tell(self, text: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._warn(text)


def _join(thread: threading.Thread, timeout_s: float, failed: threading.Event) -> None:
    """Wait for `thread`, for `SECONDS_TO_CLOSE_ON_A_FAULT` at most once it has failed."""
    deadline = time.monotonic() + timeout_s
    has_failed = False
    while thread.is_alive() and (left_s := deadline - time.monotonic()) > 0:
        if failed.is_set() and not has_failed:
            has_failed, left_s = True, min(left_s, SECONDS_TO_CLOSE_ON_A_FAULT)
            deadline = time.monotonic() + left_s
        thread.join(min(left_s, SECONDS_BETWEEN_LOOKS))


def mirror_report(results: ResultsDir, name: str, name_curves: NameCurves, warn: Callable[[str], None]) -> bool:
    """Bring the mirror of sweep `name` up to date after a report was written, its figures included.

    Returns whether that worked; a fault is told to `warn` and never raised, because the report stands without MLflow.
    """
    try:
        sync(results, name, name_curves)
    except OrchestratorError as error:
        warn(str(error))
        return False
    return True
