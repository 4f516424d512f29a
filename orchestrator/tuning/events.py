"""What an executor tells while it works: one small frozen type an event, and the settings it works under."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.grids.sweep_spec import Probe, ResourceOverride, Resources
from orchestrator.grids.trial_resources import resources_of
from orchestrator.record import EpochMetrics, State, TrialRecord
from orchestrator.trial import Trial
from orchestrator.tuning.pruning import PruneRule
from orchestrator.tuning.timing import ExpectedTime


@dataclass(frozen=True)
class TrialStarted:
    trial_id: str


@dataclass(frozen=True)
class EpochFinished:
    trial_id: str
    metrics: EpochMetrics


@dataclass(frozen=True)
class TrialEnded:
    """The end of an attempt."""

    trial_id: str
    state: State
    """COMPLETE, DIVERGED, PRUNED or FAIL; WAITING when it was stopped with a checkpoint."""
    record: TrialRecord | None = None
    """For COMPLETE, DIVERGED and PRUNED."""
    error: str | None = None
    """For FAIL, one line for people."""
    failure: str | None = None
    """The kind of a FAIL, a `failure.FailureKind`."""
    signature: str | None = None
    """Equal for trials that FAILed with the same traceback; None where that would tell nothing."""
    not_ready: str | None = None
    """Why no trial can go on where this one was, such as a full disk; it is WAITING then, and the run ends."""


@dataclass(frozen=True)
class Notice:
    """Something about the run as a whole that a person should know."""

    text: str


Event = TrialStarted | EpochFinished | TrialEnded
"""What happens to a trial."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What every attempt of one `orch run` shares; can be sent to another process."""

    results_root: Path
    stop_file: Path
    """Its presence asks for a stop at the next step."""
    executor: str
    resources: Resources = field(default_factory=Resources)
    """What a trial takes of the machine where no rule says otherwise."""
    resource_overrides: tuple[ResourceOverride, ...] = ()
    allow_code_change: bool = False
    probe: Probe | None = None
    """What is probed and when; None probes nothing."""
    prune: Mapping[str, PruneRule] = field(default_factory=dict)
    """What a search trial is held against, by trial_id; a trial that is not named is trained to its end."""
    run: tuple[str, int] | None = None
    """The sweep and the number of its run, so that a worker sees when that is over; None outside a run."""
    address: str | None = None
    """A Ray cluster; None starts Ray on this machine."""
    insecure: bool = False
    """Whether a cluster is joined that asks for no token."""
    command: str = ""
    again: str = "orch run"
    """What goes on with the sweep, for a message."""
    git_commit: str | None = None
    git_dirty: bool | None = None
    data_fingerprints: Mapping[str, str]
    """Fingerprint of each dataset, by `dataset_key`."""
    roots: Mapping[str, str | None]
    """`data.root` of each dataset, by `dataset_key`."""

    expected: Mapping[str, ExpectedTime] = field(default_factory=dict)
    """Expected seconds in epochs, by trial_id; a trial of which nothing comparable is known is not named."""
    rank: int = 0
    """Which of the processes this is that train one trial together; the first one runs its attempt."""

    def resources_of(self, trial: Trial) -> Resources:
        """What `trial` takes of the machine."""
        return resources_of(trial, self.resources, self.resource_overrides)


def dataset_key(trial: Trial) -> str:
    """Trials with equal keys see the same images."""
    return json.dumps([trial.data.name, trial.data.id])


def run_name(sweep: str, number: int) -> str:
    """What an attempt calls the run that started it."""
    return f"{sweep} {number}"
