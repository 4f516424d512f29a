"""What a trial leaves on disk: the types, and `ResultsDir`, which owns every file name.

Reading never trusts: a file that is cut short or altered is a `ResultsError` that names it. Paths inside the folder are
relative, so it can be moved. `schema` in every document lets later versions read what this one wrote.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.durable import read_sealed_json
from orchestrator.errors import ResultsError, UsageError

SCHEMA = 1
"""Version of the files below; raised when a reader of the old ones would misread the new."""


class State(StrEnum):
    """Where a trial stands. A value, once on disk, is never removed from this list."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    DIVERGED = "DIVERGED"
    FAIL = "FAIL"


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """One row of `metrics.jsonl`. A value that was not measured is None, never 0."""

    epoch: int
    """Finished epochs, from 1."""
    train_loss: float
    """Mean over the images of the epoch, as augmented and smoothed."""
    val_loss: float | None
    """Cross-entropy on the validation split; None without one."""
    val_acc: float | None
    """Share of validation images classified correctly, 0..1."""
    lr: float
    """Learning rate at the last step of the epoch."""
    wall_time_s: float
    """Seconds the epoch took, evaluation included; the one value that differs between equal runs."""

    def numbers(self) -> dict[str, float | int | None]:
        """All but the time: equal for equal trials on equal hardware."""
        content: dict[str, float | int | None] = dataclasses.asdict(self)
        del content["wall_time_s"]
        return content


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where and by what a trial was made. Explains numbers, never identifies them."""

    git_commit: str | None
    """Commit of the working tree, None outside a repository."""
    git_dirty: bool | None
    """Whether tracked files differed from that commit."""
    code_fingerprint: str
    """Hash of the sources of `models/` and `training/` and the versions of torch and timm."""
    versions: Mapping[str, str]
    """orch, python, torch, timm, numpy and others that computed."""
    device: str
    """`cpu` with its name, or the GPU's name."""
    host: str
    command: str
    """The command line, secrets removed."""
    data_fingerprint: str
    """Hash of the dataset's content."""
    executor: str
    started_at: str
    """UTC, ISO 8601."""
    ended_at: str


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What a finished trial left; `record.json`."""

    trial_id: str
    state: State
    """COMPLETE or DIVERGED."""
    trial: Mapping[str, Any]
    """`Trial.canonical()`."""
    num_params: int
    flops: int
    """Of one image, forward, a multiply-add is 2."""
    num_epochs: int
    val_loss: float | None
    val_acc: float | None
    """Of the final model."""
    test_loss: float | None
    test_acc: float | None
    """Of the final model, computed once; None when diverged."""
    num_test_images: int
    weights_sha256: str | None
    """Of the final weights file; None when diverged."""
    diverged: str | None
    """What was seen, for a DIVERGED trial."""
    wall_time_s: float
    """Seconds over all attempts that led here, starts included."""
    train_time_s: float
    """Seconds in epochs."""
    peak_memory_mib: float
    """Peak of the device's memory, or of the process on a CPU."""
    num_attempts: int
    provenance: Provenance
    schema: int = SCHEMA

    def numbers(self) -> dict[str, Any]:
        """What two equal trials on equal hardware agree on, bit by bit."""
        names = ("trial_id", "state", "trial", "num_params", "flops", "num_epochs", "val_loss", "val_acc")
        names += ("test_loss", "test_acc", "num_test_images", "weights_sha256", "diverged")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrialRecord:
        """The record that `dataclasses.asdict` made.

        Raises:
            TypeError, KeyError, ValueError: a field is missing or unknown.
        """
        fields = {**content, "state": State(content["state"]), "provenance": Provenance(**content["provenance"])}
        return cls(**fields)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of a trial; `attempts/<n>.json`, written at the start and again at the end."""

    number: int
    host: str
    process: int
    device: str
    code_fingerprint: str
    versions: Mapping[str, str]
    started_at: str
    started_from: str | None = None
    """Name of the checkpoint it went on from."""
    ended_at: str | None = None
    """None while it runs, or when it was killed."""
    wall_time_s: float | None = None
    outcome: str | None = None
    """COMPLETE, DIVERGED, STOPPED or FAIL."""
    error: str | None = None
    """The message of a failure, for people."""
    traceback: str | None = None
    schema: int = SCHEMA


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
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def attempts(self) -> Path:
        return self.path / "attempts"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    def attempt_file(self, number: int) -> Path:
        return self.attempts / f"{number}.json"

    def log_file(self, number: int) -> Path:
        return self.attempts / f"{number}.log"

    def num_attempts(self) -> int:
        """Highest attempt number on disk, 0 for a trial that never started."""
        numbers = (path.stem for path in self.attempts.glob("*.json"))
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def read_attempts(self) -> list[Attempt]:
        """Attempts in order; a damaged one is left out, because it says nothing about the numbers."""
        found = []
        for number in range(1, self.num_attempts() + 1):
            try:
                found.append(Attempt(**read_sealed_json(self.attempt_file(number))))
            except (ResultsError, TypeError):
                continue
        return found

    def read_record(self) -> TrialRecord | None:
        """The record, or None for a trial that has not finished.

        Raises:
            ResultsError: the file is damaged or written by a newer version; the message names it.
        """
        if not self.record_file.exists():
            return None
        content = read_sealed_json(self.record_file)
        if content.get("schema", 0) > SCHEMA:
            raise ResultsError(f"{self.record_file} was written by a newer orch; update to read it")
        try:
            return TrialRecord.from_json(content)
        except (TypeError, KeyError, ValueError) as error:
            raise ResultsError(f"{self.record_file} is not a trial record: {error}") from error

    def read_metrics(self) -> list[EpochMetrics]:
        """The rows so far; a torn last line does not count."""
        try:
            lines = self.metrics_file.read_text().split("\n")[:-1]
        except OSError:
            return []
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                rows.append(EpochMetrics(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise ResultsError(f"{self.metrics_file}:{number} is damaged: {error}") from error
        return rows

    def state(self) -> State:
        """Where the trial stands, from files alone. RUNNING means: started, neither finished nor failed."""
        try:
            record = self.read_record()
        except ResultsError:
            return State.WAITING
        if record is not None:
            return record.state
        attempts = self.read_attempts()
        if not attempts:
            return State.WAITING
        outcomes = {"FAIL": State.FAIL, "STOPPED": State.WAITING}
        return outcomes.get(attempts[-1].outcome or "", State.RUNNING)


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
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def stop_file(self) -> Path:
        """Its presence asks every worker of the sweep to stop at the next step."""
        return self.path / "stop"

    @property
    def report(self) -> Path:
        return self.path / "report"

    def read_index(self) -> SweepIndex:
        """The sweep's cells.

        Raises:
            ResultsError: the file is missing or damaged.
        """
        content = read_sealed_json(self.trials_file)
        try:
            return SweepIndex.from_json(content)
        except (TypeError, KeyError) as error:
            raise ResultsError(f"{self.trials_file} is not a sweep: {error}") from error


@dataclass(frozen=True, kw_only=True)
class SweepMember:
    """One trial of a sweep."""

    trial_id: str
    cell_id: str
    seed: int
    axes: Mapping[str, Any]
    """Scientific axis to value; None where a conditional axis does not apply."""


@dataclass(frozen=True, kw_only=True)
class SweepIndex:
    """Which trials a sweep consists of; `trials.json`."""

    name: str
    axes: tuple[str, ...]
    """Names of the scientific axes in the order of the spec."""
    members: tuple[SweepMember, ...]
    question: str = ""
    """The `# Question:` of the spec's header."""
    schema: int = SCHEMA

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SweepIndex:
        members = tuple(SweepMember(**member) for member in content["members"])
        return cls(**{**content, "axes": tuple(content["axes"]), "members": members})


@dataclass(frozen=True)
class ResultsDir:
    """A results root; owns every file name below it. Nothing is created by looking."""

    root: Path

    @property
    def mlflow_db(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        return self.root / "mlartifacts"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

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
            raise UsageError(f"{name!r} is no sweep name: {SWEEP_NAME_RULE}")
        return SweepFolder(self.root / "sweeps" / name)

    def sweeps(self) -> list[str]:
        """Names of the sweeps under this root."""
        parent = self.root / "sweeps"
        return sorted(path.parent.name for path in parent.glob("*/trials.json")) if parent.is_dir() else []


SWEEP_NAME_RULE = "1 to 80 letters, digits, '.', '_' and '-', the first a letter or a digit, without '..'"


def is_sweep_name(name: str) -> bool:
    """Whether `name` follows `SWEEP_NAME_RULE`."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name) is not None and ".." not in name
