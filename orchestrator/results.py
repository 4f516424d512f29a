"""`ResultsDir` owns the name of every file under a results root, and reads what lies there.

Reading never trusts: a file that is cut short or altered is a `ResultsError` that names it. Nothing is created by
looking, and no path inside is absolute, so a root can be moved.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.claims import claim_file, newest_number, read_claims
from orchestrator.configs import canonical_json
from orchestrator.durable import read_document, unseal_line
from orchestrator.errors import ResultsError, UsageError
from orchestrator.grids.sweep_spec import SWEEP_NAME_RULE, is_sweep_name
from orchestrator.lease import is_held
from orchestrator.places import local_side
from orchestrator.record import SCHEMA, Attempt, EpochMetrics, Run, State, SweepIndex, TrialRecord
from orchestrator.trial import digest
from orchestrator.tuned import SCHEMA as TUNED_SCHEMA
from orchestrator.tuned import TunedSweep

FINAL, WEIGHTS = "final", "model.safetensors"
"""The checkpoint that a finished trial keeps, and the weights in one."""


@dataclass(frozen=True)
class TrialFolder:
    """Names of the files of one trial."""

    path: Path

    @property
    def trial_file(self) -> Path:
        return self.path / "trial.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def record_file(self) -> Path:
        return self.path / "record.json"

    @property
    def predictions_file(self) -> Path:
        return self.path / "predictions.npz"

    @property
    def probes_file(self) -> Path:
        """The diagnostics of `probe_catalog`, of every probed moment."""
        return self.path / "probes.npz"

    @property
    def probes(self) -> Path:
        """A file a probed moment while the trial is trained."""
        return self.path / "probes"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final_weights_file(self) -> Path:
        """Of a COMPLETE trial; its sha256 stands in the record."""
        return self.checkpoints / FINAL / WEIGHTS

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    def attempt_file(self, number: int) -> Path:
        return claim_file(self.attempts, number)

    def log_file(self, number: int) -> Path:
        return self.attempts / f"{number}.log"

    def stack_file(self, number: int) -> Path:
        """Where every thread of a hung attempt stood."""
        return self.attempts / f"{number}.stack"

    def num_attempts(self) -> int:
        """Highest attempt number on disk, 0 for a trial that never started."""
        return newest_number(self.attempts)

    def read_attempts(self) -> list[Attempt]:
        """Attempts in order; a damaged one is left out, because it says nothing about the numbers.

        Raises:
            NewerFileError: a newer version wrote one.
        """
        return read_claims(self.attempts, Attempt)

    def read_trial(self) -> dict[str, Any] | None:
        """What was asked (`Trial.canonical`), None where that cannot be read or is of another trial."""
        try:
            content = json.loads(self.trial_file.read_bytes())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) and digest(canonical_json(content)) == self.path.name else None

    def read_record(self) -> TrialRecord | None:
        """The record, or None for a trial that has not finished.

        Raises:
            ResultsError: the file is damaged; the message names it.
            NewerFileError: a newer version wrote it.
        """
        if not self.record_file.exists():
            return None
        content = read_document(self.record_file, SCHEMA)
        try:
            return TrialRecord.from_json(content)
        except (TypeError, KeyError, ValueError) as error:
            raise ResultsError(f"{self.record_file} is not a trial record: {error}") from error

    def read_metrics(self) -> list[EpochMetrics]:
        """The rows so far; a torn last line does not count."""
        try:
            lines = self.metrics_file.read_text(errors="replace").split("\n")[:-1]
        except OSError:
            return []
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                rows.append(EpochMetrics(**unseal_line(line)))
            except (ValueError, TypeError) as error:
                raise ResultsError(f"{self.metrics_file}:{number} is damaged: {error}") from error
        return rows

    def state(self) -> State:
        """Where the trial stands, from files alone. A trial whose process was killed is WAITING."""
        try:
            record = self.read_record()
        except ResultsError:
            return State.WAITING
        return record.state if record is not None else self.state_of(self.read_attempts())

    def state_of(self, attempts: Sequence[Attempt]) -> State:
        """Where a trial without a record stands, which has made these attempts."""
        if attempts and attempts[-1].outcome == "FAIL":
            return State.FAIL
        return State.RUNNING if attempts and is_held(attempts[-1]) else State.WAITING


@dataclass(frozen=True)
class SweepFolder:
    """Names of the files of one sweep."""

    path: Path

    @property
    def spec_file(self) -> Path:
        """Snapshot of the spec of the latest run."""
        return self.path / "spec.yaml"

    @property
    def specs(self) -> Path:
        """Every snapshot, named by its hash."""
        return self.path / "specs"

    @property
    def trials_file(self) -> Path:
        """The sweep's cells and the ids of their trials (`SweepIndex`)."""
        return self.path / "trials.json"

    @property
    def exports(self) -> Path:
        """Tables that `orch export` wrote."""
        return self.path / "export"

    @property
    def tuned_file(self) -> Path:
        """What the search of a spec with `tune:` proposed, found and chose (`TunedSweep`)."""
        return self.path / "tuned.json"

    @property
    def runs(self) -> Path:
        """A JSON file for each `orch run` (`Run`); the newest one holds the sweep while it lives."""
        return self.path / "runs"

    def read_runs(self) -> list[Run]:
        """Runs in order; as `read_attempts`."""
        return read_claims(self.runs, Run)

    @property
    def mlflow_behind_file(self) -> Path:
        """There while MLflow may lack something of this sweep."""
        return self.path / "mlflow.behind"

    @property
    def stop_file(self) -> Path:
        """Its presence asks every worker of the sweep to stop at the next step."""
        return self.path / "stop"

    @property
    def report(self) -> Path:
        return self.path / "report"

    def read_tuned(self) -> TunedSweep | None:
        """What was searched, None for a sweep that was not.

        Raises:
            ResultsError: the file is damaged.
            NewerFileError: a newer version wrote it.
        """
        if not self.tuned_file.exists():
            return None
        content = read_document(self.tuned_file, TUNED_SCHEMA)
        try:
            return TunedSweep.from_json(content)
        except (TypeError, KeyError, ValueError) as error:
            raise ResultsError(f"{self.tuned_file} does not say what was tuned: {error}") from error

    def read_index(self) -> SweepIndex:
        """The sweep's cells.

        Raises:
            ResultsError: the file is missing or damaged.
            NewerFileError: a newer version wrote it.
        """
        content = read_document(self.trials_file, SCHEMA)
        try:
            return SweepIndex.from_json(content)
        except (TypeError, KeyError) as error:
            raise ResultsError(f"{self.trials_file} is not a sweep: {error}") from error


@dataclass(frozen=True)
class ResultsDir:
    """A results root; owns every file name below it. Nothing is created by looking."""

    root: Path

    @property
    def local_side(self) -> Path:
        """Where the MLflow store lies: in the root, or for a root on an object store in the user's cache folder."""
        return local_side(self.root)

    @property
    def mlflow_db(self) -> Path:
        return self.local_side / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.local_side / "mlartifacts"

    @property
    def mlflow_lock_file(self) -> Path:
        """Held while the store is made, because two makers at once would ruin it."""
        return self.local_side / "mlflow.lock"

    def mirror_lock_file(self, sweep: str) -> Path:
        """Held by the one process of this machine that mirrors `sweep` to MLflow."""
        return self.local_side / "sweeps" / sweep / "mlflow.lock"

    @property
    def mlflow_id_file(self) -> Path:
        """A random name of this root, so that two roots can share a tracking server."""
        return self.root / "mlflow.id"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def code_file(self, fingerprint: str) -> Path:
        """A hash of each source file behind a code fingerprint, so that a later difference can name files."""
        return self.root / "code" / f"{fingerprint}.json"

    def trial(self, trial_id: str) -> TrialFolder:
        return TrialFolder(self.root / "trials" / trial_id)

    def trials(self) -> Iterator[TrialFolder]:
        """Every trial folder, by id."""
        parent = self.root / "trials"
        if parent.is_dir():
            yield from (TrialFolder(path) for path in sorted(parent.iterdir()) if not path.name.startswith("."))

    def sweep(self, name: str) -> SweepFolder:
        """The folder of sweep `name`.

        Raises:
            UsageError: the name could leave the root.
        """
        if not is_sweep_name(name):
            raise UsageError(f"{name[:200]!r} is no sweep name: {SWEEP_NAME_RULE}")
        return SweepFolder(self.root / "sweeps" / name)

    def sweeps(self) -> list[str]:
        """Names of the sweeps under this root."""
        parent = self.root / "sweeps"
        return sorted(path.parent.name for path in parent.glob("*/trials.json")) if parent.is_dir() else []
