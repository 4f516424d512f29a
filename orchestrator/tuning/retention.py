"""A results root and a policy in; what may be freed and its bytes out; and it is gone, where that is asked.

What makes a result is never among it: records, metric rows, predictions, probes, the newest log, and all of a trial
that is not finished. A trial is touched only where every sweep that holds it was asked for and has no live run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Literal

from orchestrator import claims, durable, lease
from orchestrator.errors import LockedError, ResultsError
from orchestrator.local_files import may_be_in_use
from orchestrator.places import is_local
from orchestrator.record import Run, State, SweepIndex, TrialRecord
from orchestrator.results import FINAL, ResultsDir, TrialFolder

HOURS_UNTIL_LEFTOVER = 1.0


class Category(StrEnum):
    """Kinds of what can be freed."""

    WEIGHTS = "weights"
    """Final weights of COMPLETE trials."""
    CHECKPOINTS = "checkpoints"
    """Of finished trials, the final weights not counted."""
    LEFTOVERS = "leftovers"
    """Temporary files and folders of processes that are gone."""
    LOGS = "logs"
    """Of finished trials, all but the newest."""
    ORPHANS = "orphans"
    """Of trials that no sweep of the root refers to."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What is kept; by default all that anybody could still want."""

    weights: Literal["all", "best", "none"] = "all"
    """Final weights: of all trials, of the trial with the highest val_acc of each cell, or of none."""
    logs: Literal["all", "newest"] = "all"
    orphans: Literal["all", "records", "none"] = "all"
    """Orphans whole, without weights and checkpoints, or not at all."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file or folder that may go."""

    category: Category
    path: Path
    num_bytes: int
    is_folder: bool


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a policy frees, and what it left alone."""

    items: tuple[Item, ...]
    notes: tuple[str, ...]
    """A sentence for each kind of thing that was left alone, and why."""


def find_garbage(results: ResultsDir, sweep: str | None, policy: Policy) -> Findings:
    """What `policy` would free, of one sweep or of the whole root; takes nothing and writes nothing."""
    newest = {name: claims.newest(results.sweep(name).runs, Run) for name in results.sweeps()}
    busy = {name for name, run in newest.items() if run is not None and lease.is_held(run)}
    return _Search(results, sweep, policy, busy).findings()


def free_garbage(results: ResultsDir, sweep: str | None, policy: Policy) -> Findings:
    """Free what `policy` says and tell what that was; the sweeps are held while it lasts.

    Raises:
        LockedError: a run holds the sweep that was named.
        ResultsError: something cannot be removed; what went before it is gone.
    """
    make = partial(Run, command="orch gc", executor="none")
    with ExitStack() as stack:
        busy = set()
        for name in results.sweeps():
            try:
                stack.enter_context(lease.hold(results.sweep(name).runs, f"sweep {name!r}", Run, make))
            except LockedError:
                if name == sweep:
                    raise
                busy.add(name)
        findings = _Search(results, sweep, policy, busy).findings()
        for item in findings.items:
            (durable.remove_folder if item.is_folder else durable.remove_file)(item.path)
        return findings


class _Search:
    """One look at a results root."""

    def __init__(self, results: ResultsDir, sweep: str | None, policy: Policy, busy: set[str]) -> None:
        self.results, self.sweep, self.policy, self.busy = results, sweep, policy, busy
        self.indexes: dict[str, SweepIndex] = {}
        self.unreadable: list[str] = []
        for name in results.sweeps():
            try:
                self.indexes[name] = results.sweep(name).read_index()
            except ResultsError:
                self.unreadable.append(name)
        self.holders: dict[str, set[str]] = {}
        for name, index in self.indexes.items():
            for member in index.all_members:
                self.holders.setdefault(member.trial_id, set()).add(name)
        self.left_alone: dict[str, int] = {}

    def findings(self) -> Findings:
        asked = [self.sweep] if self.sweep is not None else list(self.indexes)
        own = dict.fromkeys(
            m.trial_id for name in asked if name in self.indexes for m in self.indexes[name].all_members
        )
        folders = [self.results.trial(trial_id) for trial_id in own]
        free = {folder.path.name: record for folder in folders if (record := self._free_record(folder)) is not None}
        best = self._best(free) if self.policy.weights == "best" else set()
        items = [item for trial_id, record in free.items() for item in self._of_finished(record, trial_id in best)]
        if self.sweep is None:
            items += [*self._orphans(), *self._leftovers()]
        told = [f"{num} {what}" for what, num in self.left_alone.items()]
        told += [f"the index of sweep {name} cannot be read: its trials are left alone" for name in self.unreadable]
        return Findings(items=tuple(items), notes=tuple(told))

    def _free_record(self, folder: TrialFolder) -> TrialRecord | None:
        """The record of a finished trial that may be touched."""
        holders = self.holders[folder.path.name]
        record = None
        if holders & self.busy:
            self._leave("trials of sweeps that a run holds are left alone")
        elif self.unreadable or (self.sweep is not None and holders != {self.sweep}):
            self._leave("trials that other sweeps hold too, or may hold, are left alone")
        else:
            try:
                record = folder.read_record()
            except ResultsError:
                self._leave("trials whose record cannot be read are left alone")
            else:
                if record is None:
                    self._leave("trials that are not finished are left alone")
        return record

    def _leave(self, why: str) -> None:
        self.left_alone[why] = self.left_alone.get(why, 0) + 1

    def _best(self, free: dict[str, TrialRecord]) -> set[str]:
        """The trials whose weights `best` keeps; of a cell without a validation split, all."""
        best: set[str] = set()
        for index in self.indexes.values():
            cells: dict[str, list[TrialRecord]] = {}
            for member in index.members:
                record = free.get(member.trial_id)
                if record is not None and record.state is State.COMPLETE:
                    cells.setdefault(member.cell_id, []).append(record)
            for records in cells.values():
                if any(record.val_acc is None for record in records):
                    best.update(record.trial_id for record in records)
                else:
                    best.add(max(records, key=_rank).trial_id)
        return best

    def _of_finished(self, record: TrialRecord, is_best: bool) -> Iterator[Item]:
        folder = self.results.trial(record.trial_id)
        for path in _children(folder.checkpoints):
            if path.name == FINAL:
                if self.policy.weights == "none" or (self.policy.weights == "best" and not is_best):
                    yield _item(Category.WEIGHTS, path)
            elif not path.name.startswith(durable.TEMPORARY_PREFIX):
                yield _item(Category.CHECKPOINTS, path)
        if self.policy.logs == "newest":
            newest = folder.log_file(folder.num_attempts())
            logs = (path for path in _children(folder.attempts) if path.suffix == newest.suffix and path != newest)
            yield from (_item(Category.LOGS, path) for path in logs)

    def _orphans(self) -> Iterator[Item]:
        if self.policy.orphans == "all":
            return
        if self.unreadable:
            self._leave("sweep or more has no readable index, so no trial counts as an orphan")
            return
        for folder in self.results.trials():
            if folder.path.name in self.holders:
                continue
            if folder.state() is State.RUNNING:
                self._leave("orphans that run are left alone")
            elif self.policy.orphans == "none":
                yield _item(Category.ORPHANS, folder.path)
            elif folder.checkpoints.exists():
                yield _item(Category.ORPHANS, folder.checkpoints)

    def _leftovers(self) -> Iterator[Item]:
        """Only a file system has them: an object is whole or not there."""
        for parent, folders, files in os.walk(self.results.root) if is_local(self.results.root) else ():
            found = [name for name in (*folders, *files) if name.startswith(durable.TEMPORARY_PREFIX)]
            folders[:] = [name for name in folders if name not in found]
            for path in (Path(parent) / name for name in found):
                if _is_abandoned(path):
                    yield _item(Category.LEFTOVERS, path)


def _rank(record: TrialRecord) -> tuple[float, float, int]:
    """Higher is better: accuracy on validation images, then loss, then the first seed."""
    assert record.val_acc is not None
    assert record.val_loss is not None
    return record.val_acc, -record.val_loss, -int(record.trial["seed"])


def _is_abandoned(path: Path) -> bool:
    """Not written for an hour, and its maker is gone; of another machine's, not written for a day."""
    try:
        age_s = time.time() - path.lstat().st_mtime
    except OSError:
        return False
    return age_s > HOURS_UNTIL_LEFTOVER * 3600 and not may_be_in_use(path)


def _children(folder: Path) -> Sequence[Path]:
    return sorted(folder.iterdir(), key=lambda path: path.name) if folder.is_dir() else ()


def _item(category: Category, path: Path) -> Item:
    is_folder = path.is_dir() and not path.is_symlink()
    files = [file for file in path.rglob("*") if file.is_file()] if is_folder else [path]
    return Item(category=category, path=path, num_bytes=sum(file.stat().st_size for file in files), is_folder=is_folder)
