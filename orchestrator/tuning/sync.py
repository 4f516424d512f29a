"""A sweep's files in, its MLflow experiment out: one parent run for the sweep, one child for each started trial.

What MLflow shows is compared with what the files say, and only what is missing is written: doing it twice changes
nothing. MLflow can neither overwrite nor remove a point, so a run that says something else than the files is deleted
and written anew; when that is the parent, its children are handed over first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator import durable
from orchestrator.durable import sha256
from orchestrator.errors import ResultsError
from orchestrator.record import SweepIndex, SweepMember, TrialRecord
from orchestrator.results import ResultsDir
from orchestrator.tuning.depth_points import NameCurves, sweep_content
from orchestrator.tuning.run_content import RunContent, trial_content
from orchestrator.tuning.shown_run import ShownRun

if TYPE_CHECKING:
    from orchestrator.tuning.tracking import RunStore

FIGURE_SUFFIXES = (".svg", ".png")


@dataclass(frozen=True, kw_only=True)
class SyncSummary:
    """What `sync` found and did."""

    sweep: str
    num_trials: int
    """Trials of the sweep that have a run now."""
    num_writes: int
    """Requests that changed something; 0 when MLflow already said what the files say."""
    damaged: tuple[str, ...]
    """A message for each trial that was left out because a file of it is damaged."""


def sync(results: ResultsDir, name: str, name_curves: NameCurves, *, tracking_uri: str | None = None) -> SyncSummary:
    """Bring the MLflow experiment of sweep `name` to what the files say, the report's figures included.

    Raises:
        NotReadyError: MLflow cannot be reached, read or written.
        ResultsError: the sweep's own files are missing or damaged.
        LockedError: a run mirrors this sweep now.
    """
    index = results.sweep(name).read_index()
    with open_sweep(results, index, name_curves, tracking_uri=tracking_uri) as writer:
        writer.update((), (), is_last=True)
        return writer.summary()


@contextmanager
def open_sweep(
    results: ResultsDir, index: SweepIndex, name_curves: NameCurves, *, tracking_uri: str | None = None
) -> Iterator[SweepWriter]:
    """A writer for one sweep; nobody else writes that sweep while the block runs.

    Raises:
        NotReadyError, LockedError: as `tracking.open_store`, at any time while the block runs.
    """
    from orchestrator.tuning import tracking

    with tracking.open_store(results, index.name, tracking_uri) as store:
        yield SweepWriter(store, results, index, name_curves)


class SweepWriter:
    """Keeps the runs of one sweep at what its files say."""

    def __init__(self, store: RunStore, results: ResultsDir, index: SweepIndex, name_curves: NameCurves) -> None:
        self._store, self._results, self._index, self._name_curves = store, results, index, name_curves
        self._members = {member.trial_id: member for member in index.all_members}
        self._records: dict[str, TrialRecord] = {}
        self._spans: dict[str, tuple[int, int]] = {}
        self._damaged: dict[str, str] = {}
        self._parent: ShownRun | None = None
        self._children: dict[str, ShownRun] = {}
        self._is_loaded = False

    def update(self, changed: Collection[str], running: Collection[str], *, is_last: bool = False) -> None:
        """Bring the runs of `changed` trials and the parent up to date; the first call looks at all trials.

        Args:
            changed: ids of trials whose folder has grown.
            running: ids of trials that are being trained now.
            is_last: no trial is being trained any more; means over some of a cell's seeds are shown too, what still
                seems to run is ended, runs that a lost answer left twice are removed, and the report's figures are
                added.
        """
        due = set(changed) if self._is_loaded else set(self._members)
        if not self._is_loaded:
            self._load()
        if is_last:
            due |= {trial_id for trial_id, run in self._children.items() if run.status == "RUNNING"}
        contents = self._read(due, running)
        for trial_id in due.intersection(self._children) - {*contents, *self._damaged}:
            self._store.delete(self._children.pop(trial_id))
        self._write_parent(is_running=not is_last)
        for trial_id, content in contents.items():
            self._write_child(trial_id, content)
        if is_last:
            self._remove_doubles()
            self._log_figures()
            durable.remove_file(self._results.sweep(self._index.name).mlflow_behind_file)

    def grow(self, index: SweepIndex) -> None:
        """Take in a newer index; runs of trials that it no longer has go when the sweep is opened next."""
        if index is not self._index:
            self._index = index
            self._members.update((member.trial_id, member) for member in index.all_members)

    def summary(self) -> SyncSummary:
        return SyncSummary(
            sweep=self._index.name,
            num_trials=len(self._children),
            num_writes=self._store.num_writes,
            damaged=tuple(self._damaged.values()),
        )

    def _load(self) -> None:
        """Know the runs there are, and remove those that a crash or a smaller grid left over."""
        for run in self._store.find_runs():
            kind, trial_id = run.tags.get("kind"), run.tags.get("trial_id", "")
            if kind == "sweep" and self._parent is None:
                self._parent = run
            elif kind == "trial" and trial_id in self._members and trial_id not in self._children:
                self._children[trial_id] = run
            elif kind in ("sweep", "trial"):
                self._store.delete(run)
        self._is_loaded = True

    def _remove_doubles(self) -> None:
        """A server that made a run and lost the answer was asked again, and has made two."""
        if self._store.num_created == 0:
            return
        known = {run.run_id for run in (self._parent, *self._children.values()) if run is not None}
        for run in self._store.find_runs():
            if run.run_id not in known and run.tags.get("kind") in ("sweep", "trial"):
                self._store.delete(run)

    def _read(self, trial_ids: Collection[str], running: Collection[str]) -> dict[str, RunContent]:
        """What the files of these trials say, in the order of the index; trials that never started are left out."""
        contents = {}
        for trial_id, member in self._members.items():
            content = self._read_trial(member, trial_id in running) if trial_id in trial_ids else None
            if content is not None:
                contents[trial_id] = content
                self._spans[trial_id] = (content.start_ms, content.end_ms or content.start_ms)
        return contents

    def _read_trial(self, member: SweepMember, is_running: bool) -> RunContent | None:
        folder = self._results.trial(member.trial_id)
        self._damaged.pop(member.trial_id, None)
        self._records.pop(member.trial_id, None)
        try:
            record = folder.read_record()
            content = trial_content(folder, member, record, is_running=is_running)
        except ResultsError as error:
            self._damaged[member.trial_id] = str(error)
            return None
        if record is not None:
            self._records[member.trial_id] = record
        return content

    def _write_parent(self, *, is_running: bool) -> None:
        if not self._spans:
            return
        content = sweep_content(
            self._index,
            self._records,
            self._name_curves,
            start_ms=min(start for start, _ in self._spans.values()),
            end_ms=max(end for _, end in self._spans.values()),
            is_running=is_running,
        )
        if self._parent is None:
            self._parent = self._store.create(content)
        elif not self._parent.shows(content):
            self._store.read_points(self._parent)
            if self._parent.contradicts(content):
                self._replace_parent(self._parent, content)
            else:
                self._store.write(self._parent, content)

    def _replace_parent(self, old: ShownRun, content: RunContent) -> None:
        self._parent = self._store.create(content, old)
        for child in self._children.values():
            self._store.set_parent(child, self._parent)
        self._store.delete(old)

    def _write_child(self, trial_id: str, content: RunContent) -> None:
        assert self._parent is not None
        run = self._children.get(trial_id)
        if run is not None and not run.shows(content):
            self._store.read_points(run)
            if run.contradicts(content):
                self._store.delete(run)
                del self._children[trial_id]
        old, run = run, self._children.get(trial_id)
        if run is None:
            run = self._store.create(content, old, parent=self._parent)
            self._children[trial_id] = run
        elif not run.shows(content):
            self._store.write(run, content)
        self._store.set_parent(run, self._parent)

    def _log_figures(self) -> None:
        """Copy the report's figures to the parent where they differ from those it has."""
        report = self._results.sweep(self._index.name).report
        figures = sorted(path for path in report.rglob("*") if path.suffix in FIGURE_SUFFIXES)
        if self._parent is None or not figures:
            return
        content = "".join(f"{path.relative_to(report)} {sha256(path.read_bytes())}\n" for path in figures)
        self._store.log_figures(self._parent, figures, sha256(content.encode()))
