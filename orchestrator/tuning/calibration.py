"""A priced grid in; the epoch times that its cells would have on this device, measured in under a minute, out.

Blocks are identical, so two depths tell a family of cells (`timing.py`). What was measured is kept in the user's cache
folder by device and versions, and plans use it until a trial of the family has been trained here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import durable, provenance
from orchestrator.errors import ResultsError
from orchestrator.places import cache_folder
from orchestrator.trial import Trial
from orchestrator.tuning.timing import family_of

BUDGET_S = 45.0
"""For all steps together; models and datasets are made besides."""
MIN_BUDGET_S = 0.5
"""For one of them: a very large grid takes longer than a minute."""
VERSIONS = ("torch", "timm")
"""Other versions are other speeds."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """One measured epoch."""

    device: str
    canonical: Mapping[str, Any]
    """Of the trial whose steps were timed."""
    epoch_s: float
    step_s: float
    num_steps: int
    measured_at: str


def calibrate(trials: Iterable[Trial], device: str, say: Callable[[str], None]) -> list[Calibration]:
    """Time the shallowest and the deepest trial of each family of `trials`, and keep that.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        DataError: a dataset is missing.
        ResultsError: the cache folder cannot be written.
    """
    from orchestrator.training.device import device_name
    from orchestrator.training.epoch_time import measure_epoch

    chosen = ends_of_families(trials)
    budget_s = max(MIN_BUDGET_S, BUDGET_S / max(1, len(chosen)))
    found = []
    for number, trial in enumerate(chosen, start=1):
        say(f"timing {number} of {len(chosen)}: {trial.label}")
        measured = measure_epoch(trial, device, budget_s)
        found.append(
            Calibration(
                device=device_name(device), canonical=trial.canonical(), measured_at=provenance.utc_now(),
                epoch_s=measured.epoch_s, step_s=measured.step_s, num_steps=measured.num_steps,
            )
        )  # fmt: skip
    _keep(found)
    return found


def ends_of_families(trials: Iterable[Trial]) -> list[Trial]:
    """The shallowest and the deepest trial of each family, the first seed of each."""
    families: dict[str, dict[int, Trial]] = {}
    for trial in trials:
        families.setdefault(family_of(trial.canonical()), {}).setdefault(trial.model.depth, trial)
    ends = [(depths[min(depths)], depths[max(depths)]) for depths in families.values()]
    return [replace(trial, seed=0) for pair in ends for trial in dict.fromkeys(pair)]


def known_calibrations() -> list[Calibration]:
    """What earlier calibrations of these versions found, on any device; what is damaged is nothing."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            content = durable.read_sealed_json(path)
            if content is not None:
                found += [Calibration(**entry) for entry in content["calibrations"]]
        except (ResultsError, KeyError, TypeError):
            continue
    return found


def _keep(found: Sequence[Calibration]) -> None:
    """A file a device; of one trial the newest counts."""
    for device in {one.device for one in found}:
        by_trial = {_key(one): one for one in (*known_calibrations(), *found) if one.device == device}
        durable.write_sealed_json(_file(device), {"calibrations": [asdict(one) for one in by_trial.values()]})


def _key(one: Calibration) -> str:
    return json.dumps(one.canonical, sort_keys=True)


def _folder() -> Path:
    versions = provenance.versions()
    text = json.dumps([versions.get(name) for name in VERSIONS])
    return cache_folder() / "calibrations" / hashlib.sha256(text.encode()).hexdigest()[:16]


def _file(device: str) -> Path:
    return _folder() / f"{hashlib.sha256(device.encode()).hexdigest()[:16]}.json"
