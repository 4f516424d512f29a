"""A results root and a sweep's index in; plain rows out, a dict a trial or an epoch, and notices about damaged files.

A record that cannot be read leaves its trial WAITING. Paths in notices start at the root, so a moved root reads the
same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.errors import ResultsError, UsageError
from orchestrator.record import Attempt, EpochMetrics, State, SweepIndex, SweepMember, TrialRecord
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.views.curves import CurveName, name_curves, value_text
from orchestrator.views.forked import in_shares

MODEL_FIELDS = ("depth", "attention", "embed_dim", "num_heads")
"""Fields of the model that every row has, whether they are axes or not."""

FROM_RECORD: tuple[str, ...] = ("num_params", "flops", "num_epochs", "val_acc", "val_loss", "test_acc", "test_loss")
FROM_RECORD += ("num_test_images", "wall_time_s", "train_time_s", "peak_memory_mib", "num_attempts", "diverged")
FROM_RECORD += ("micro_batch_size", "num_packed", "predicted_time_s", "is_predicted_roughly")
FROM_RECORD += ("predicted_memory_mib",)
FROM_PROVENANCE: tuple[str, ...] = ("code_fingerprint", "data_fingerprint", "host", "executor")
FROM_PROVENANCE += ("git_commit", "git_dirty", "command")

LEAST_SHARE = 1000
"""Trials that another process must have to read before it is worth its start."""


@dataclass
class TrialRows:
    """Reads the trials of one sweep; `notices` fills as files turn out to be damaged."""

    results: ResultsDir
    index: SweepIndex
    notices: list[str] = field(default_factory=list)
    test_sets: dict[str, str] = field(default_factory=dict)
    """Trial to the name of what it was tested on, for the trials whose record has been read."""

    @cached_property
    def names(self) -> list[CurveName]:
        """The names of the members' cells, a name a member."""
        cells = {member.cell_id: member.axes for member in self.index.members}
        names = dict(zip(cells, name_curves(list(cells.values())), strict=True))
        return [names[member.cell_id] for member in self.index.members]

    def trials(self) -> list[dict[str, Any]]:
        """One row a trial, in the order of the index."""
        named = list(zip(self.index.members, self.names, strict=True))
        rows = self._read(lambda reader, share: [reader.trial(member, name) for member, name in share], named)
        _fill_from_cell_mates(rows)
        return rows

    def epochs(self) -> tuple[list[int], list[EpochMetrics]]:
        """Every finished epoch, and before it the place of its trial in the index; an epoch that was trained again
        after a stop counts as it ended.
        """
        by_trial = self._read(lambda reader, share: [reader.epochs(member) for member in share], self.index.members)
        places = [place for place, rows in enumerate(by_trial) for _ in rows]
        return places, [row for rows in by_trial for row in rows]

    def _read(self, read: Callable[[TrialReader, Sequence[Any]], list[Any]], items: Sequence[Any]) -> list[Any]:
        """What is read for each of `items`, in order; what was noticed on the way is kept."""

        def work(share: Sequence[Any]) -> tuple[list[Any], TrialReader]:
            reader = TrialReader(self.results)
            return read(reader, share), reader

        found = []
        for rows, reader in in_shares(work, items, least=LEAST_SHARE):
            found += rows
            self.test_sets.update(reader.test_sets)
            self.notices += [notice for notice in reader.notices if notice not in self.notices]
        return found


@dataclass
class TrialReader:
    """Reads the files of trials, one by one."""

    results: ResultsDir
    notices: list[str] = field(default_factory=list)
    test_sets: dict[str, str] = field(default_factory=dict)

    def trial(self, member: SweepMember, name: CurveName) -> dict[str, Any]:
        """The row of one trial."""
        folder = self.results.trial(member.trial_id)
        record = self._record(folder)
        content = record.trial if record else self._trial_file(folder)
        model = content.get("model", {})
        if record is not None:
            self.test_sets[member.trial_id] = test_set_of(record)
        return {
            **{axis: _plain(value) for axis, value in member.axes.items()},
            **{column: model.get(column, member.axes.get(column)) for column in MODEL_FIELDS},
            "trial_id": member.trial_id,
            "cell_id": member.cell_id,
            "label": name.cell,
            "curve": name.curve,
            "seed": member.seed,
            "protocol": content.get("protocol"),
            **(_finished(record) if record else self._unfinished(folder)),
        }

    def epochs(self, member: SweepMember) -> list[EpochMetrics]:
        """The finished epochs of one trial, ascending."""
        latest = {row.epoch: row for row in self._metrics(self.results.trial(member.trial_id))}
        return [latest[epoch] for epoch in sorted(latest)]

    def _unfinished(self, folder: TrialFolder) -> dict[str, Any]:
        attempts = folder.read_attempts()
        row: dict[str, Any] = {
            "state": folder.state(),
            "num_epochs": len({epoch.epoch for epoch in self._metrics(folder)}),
            "num_attempts": folder.num_attempts(),
            **_last_failed(attempts),
        }
        if attempts:
            last = attempts[-1]
            row.update(code_fingerprint=last.code_fingerprint, device=last.devices, host=last.host)
            row["versions"] = _versions(last.versions)
        return row

    def _record(self, folder: TrialFolder) -> TrialRecord | None:
        try:
            return folder.read_record()
        except ResultsError as error:
            self._notice(f"{error}; the trial counts as not finished")
            return None

    def _metrics(self, folder: TrialFolder) -> list[EpochMetrics]:
        try:
            return folder.read_metrics()
        except ResultsError as error:
            self._notice(f"{error}; its epochs are left out")
            return []

    def _trial_file(self, folder: TrialFolder) -> Mapping[str, Any]:
        """The content of `trial.json`, empty for a trial that never started."""
        try:
            content = json.loads(folder.trial_file.read_bytes())
        except OSError:
            return {}
        except ValueError:
            content = None
        if isinstance(content, dict) and isinstance(content.get("model"), dict):
            return content
        self._notice(f"{folder.trial_file} is damaged: it describes no trial")
        return {}

    def _notice(self, message: str) -> None:
        message = message.replace(f"{self.results.root}/", "")
        if message not in self.notices:
            self.notices.append(message)


def open_sweep(results: str | Path | ResultsDir, sweep: str) -> TrialRows:
    """The trials of a sweep under a root.

    Raises:
        UsageError: there is no such sweep under the root.
        ResultsError: the sweep's index is damaged.
    """
    opened = results if isinstance(results, ResultsDir) else ResultsDir(Path(results))
    folder = opened.sweep(sweep)
    if not folder.trials_file.exists():
        known = ", ".join(opened.sweeps()) or "none; `orch run` makes one"
        raise UsageError(f"there is no sweep {sweep!r} under {opened.root}; sweeps there: {known}")
    return TrialRows(opened, folder.read_index())


def _finished(record: TrialRecord) -> dict[str, Any]:
    found = {name: getattr(record, name) for name in FROM_RECORD}
    if record.test_acc is None:
        found["num_test_images"] = None
    provenance = {name: getattr(record.provenance, name) for name in FROM_PROVENANCE}
    found["deviations"] = "; ".join(record.deviations) or None
    provenance |= {"device": record.provenance.devices, "versions": _versions(record.provenance.versions)}
    return {**found, **provenance, "state": record.state}


def _last_failed(attempts: Sequence[Attempt]) -> dict[str, str | None]:
    """Message and kind of the last failure."""
    failed = [attempt for attempt in attempts if attempt.outcome == State.FAIL]
    return {"error": failed[-1].error, "failure": failed[-1].failure} if failed else {"error": None, "failure": None}


def _fill_from_cell_mates(rows: list[dict[str, Any]]) -> None:
    """A trial that never started has the model and protocol of its cell's other seeds."""
    for column in (*MODEL_FIELDS, "protocol"):
        known = {row["cell_id"]: row[column] for row in rows if row[column] is not None}
        for row in rows:
            if row[column] is None:
                row[column] = known.get(row["cell_id"])


def test_set_of(record: TrialRecord) -> str:
    """A name that two trials share exactly when they were tested on the same images: the content of the data, and the
    share of it that is held out, which fix the images and their order.
    """
    return f"{record.provenance.data_fingerprint}:{record.trial.get('data', {}).get('test_fraction')}"


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _plain(value: Any) -> Any:
    return value_text(value) if isinstance(value, (dict, list, tuple)) else value
