"""What trials and sweeps leave on disk, as types; `results.py` says under which names.

`schema` in every document lets later versions read what this one wrote. A value that was not measured is None.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

SCHEMA = 1
"""Version of the files below; raised when a reader of the old ones would misread the new."""


LOST = "LOST"
"""Outcome of an attempt that ended without one for its trial, and could say so."""


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
    """Seconds the epoch took, evaluation included; differs between equal runs."""
    num_packed: int = 1
    """Trials that one process trained together in this epoch; with more than one the time is that of all of them."""

    def numbers(self) -> dict[str, float | int | None]:
        """All but the time and whose it is: equal for equal trials on equal hardware."""
        content: dict[str, float | int | None] = dataclasses.asdict(self)
        del content["wall_time_s"], content["num_packed"]
        return content


def _devices(device: str, num_workers: int) -> str:
    return device if num_workers == 1 else f"{num_workers} x {device}"


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
    num_workers: int = 1
    """Processes that trained together; `device` is that of the first."""

    @property
    def devices(self) -> str:
        """The device, and how many of them."""
        return _devices(self.device, self.num_workers)


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """What a finished trial left; `record.json`."""

    trial_id: str
    state: State
    """COMPLETE, DIVERGED or, of a search trial, PRUNED."""
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
    """Of the final model, computed once; None when diverged or pruned."""
    num_test_images: int
    weights_sha256: str | None
    """Of the final weights file; None when diverged or pruned."""
    diverged: str | None
    """What was seen, for a DIVERGED trial."""
    wall_time_s: float
    """Seconds over all attempts that led here, starts included."""
    train_time_s: float
    """Seconds in epochs; probes are none of them."""
    peak_memory_mib: float
    """Peak of the device's memory, or of the process on a CPU."""
    num_attempts: int
    provenance: Provenance
    probe_time_s: float | None = None
    """Seconds in probes, skipped blocks not counted; None for a trial that was not probed."""
    skip_time_s: float | None = None
    """Seconds in skipping each block once; None for a trial that was not probed."""
    micro_batch_size: int | None = None
    """Images at a time where it was trained with fewer than asked, because memory ran out; else None."""
    deviations: tuple[str, ...] = ()
    """How it was trained otherwise than asked or by several kinds of code or device, a sentence each."""
    num_packed: int = 1
    """Seeds of its cell that one process trained together, at most; above 1 its times compare with no other trial's."""
    predicted_time_s: float | None = None
    """What `train_time_s` was expected to be when its last attempt began; None where nothing told."""
    is_predicted_roughly: bool = False
    """Whether that came from the speed of the processor, because nothing alike had been timed there."""
    predicted_memory_mib: float | None = None
    """What `peak_memory_mib` was expected to be on a GPU; None on a CPU, where the process holds much else."""
    schema: int = SCHEMA

    def numbers(self) -> dict[str, Any]:
        """What two equal trials on equal hardware agree on, bit by bit."""
        names: tuple[str, ...] = (
            "trial_id",
            "state",
            "trial",
            "num_params",
            "flops",
            "num_epochs",
            "val_loss",
            "val_acc",
        )
        names += ("test_loss", "test_acc", "num_test_images", "weights_sha256", "diverged")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrialRecord:
        """The record that `dataclasses.asdict` made.

        Raises:
            TypeError, KeyError, ValueError: a field is missing or unknown.
        """
        fields = {**content, "state": State(content["state"]), "provenance": Provenance(**content["provenance"])}
        return cls(**{**fields, "deviations": tuple(content.get("deviations", ()))})


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who works on a thing; a numbered file that `lease.py` keeps. Of several, the highest number counts."""

    number: int
    """From 1."""
    host: str
    process: int
    started_at: str
    """UTC, ISO 8601."""
    machine: str = ""
    """Where `process` has its meaning (`processes.this_machine`)."""
    process_started: str | None = None
    """When that process began, because pids come round again."""
    lease_s: float = 30.0
    """An owner elsewhere that changes nothing for twice as long is taken for dead."""
    beat: int = 0
    """Grows while the owner lives."""
    beat_at: str = ""
    """When it last grew, by the owner's clock; for people."""
    ended_at: str | None = None
    """None while it is held, or when its owner was killed."""
    outcome: str | None = None
    """How it ended."""
    error: str | None = None
    """The message of a failure, for people."""


@dataclass(frozen=True, kw_only=True)
class Attempt(Claim):
    """One start of a trial; `attempts/<n>.json`.

    Outcomes: COMPLETE, DIVERGED, PRUNED, STOPPED, FAIL, or LOST where its process ended without one for the trial.
    """

    device: str
    code_fingerprint: str
    versions: Mapping[str, str]
    run: str | None = None
    """The run of a sweep that started it, `<sweep> <number>`."""
    started_from: str | None = None
    """Name of the checkpoint it went on from."""
    wall_time_s: float | None = None
    failure: str | None = None
    """The kind of a failure, a `failure.FailureKind`."""
    traceback: str | None = None
    data_fingerprint: str | None = None
    """Hash of the dataset's content."""
    micro_batch_size: int | None = None
    """Images at a time where memory ran out for what was asked; else None."""
    deviations: tuple[str, ...] = ()
    """As in the record, of this attempt and of those it went on from."""
    num_workers: int = 1
    """Processes that train together; `device` and `process` are those of the first."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "deviations", tuple(self.deviations))  # JSON has lists only

    @property
    def devices(self) -> str:
        """The device, and how many of them."""
        return _devices(self.device, self.num_workers)


@dataclass(frozen=True, kw_only=True)
class Run(Claim):
    """One run of a sweep; `runs/<n>.json`. Outcomes: ENDED, STOPPED or FAIL."""

    command: str
    executor: str
    notices: Sequence[str] = ()
    """What a person should know of the run as a whole, such as that a node was closed; each a sentence."""
    schema: int = SCHEMA


@dataclass(frozen=True, kw_only=True)
class SweepMember:
    """One trial of a sweep."""

    trial_id: str
    cell_id: str
    seed: int
    axes: Mapping[str, Any]
    """Scientific axis to value; None where a conditional axis does not apply."""
    phase: Literal["tune", "measure"] = "measure"
    """`tune`: it helped to choose its cell's nuisance values, and no mean holds it."""
    proposal: int | None = None
    """Number of the proposal it tries, the first one that has this trial; None for a measured trial."""


@dataclass(frozen=True, kw_only=True)
class SweepIndex:
    """Which trials a sweep consists of; `trials.json`."""

    name: str
    axes: tuple[str, ...]
    """Names of the scientific axes in the order of the spec."""
    members: tuple[SweepMember, ...]
    """The measured trials; of a sweep with `tune:`, those of the cells that are chosen for."""
    search: tuple[SweepMember, ...] = ()
    """The search trials that are known so far, each once."""
    num_pending: int = 0
    """Measured trials whose ids are known when the search of their cell is over."""
    num_search_pending: int = 0
    """Search trials whose ids are known when earlier batches of their cell are over."""
    question: str = ""
    """The `# Question:` of the spec's header."""
    seed_rule: Mapping[str, Any] | None = None
    """`min`, `max` and `ci_half_width` where a rule decides how many seeds a cell has; `members` are those so far."""
    schema: int = SCHEMA

    @property
    def all_members(self) -> tuple[SweepMember, ...]:
        """Search trials first, as they run."""
        return (*self.search, *self.members)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; made without copying every value, which takes seconds for a large sweep."""
        members = {name: [dict(vars(member)) for member in getattr(self, name)] for name in ("members", "search")}
        content = {**vars(self), **members, "axes": list(self.axes)}
        return content if self.seed_rule is not None else {k: v for k, v in content.items() if k != "seed_rule"}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SweepIndex:
        members = {name: tuple(SweepMember(**m) for m in content.get(name, ())) for name in ("members", "search")}
        return cls(**{**content, "axes": tuple(content["axes"]), **members})
