"""The trials about to be trained and this machine in; nothing out, or an error that says what is too small.

Estimates are lower bounds, so what would work is never refused. Nothing is opened and nothing of a trial is read, so a
run does not wait for it.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import cost
from orchestrator.errors import NotReadyError
from orchestrator.places import is_local
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings
from orchestrator.wording import size_text

BYTES_A_NUMBER = 4
MOMENTS = {"adamw": 2, "lamb": 2, "sgd": 1}
"""Numbers that an optimizer keeps a parameter."""
NUM_CHECKPOINTS = 3
"""Two are kept while the next is written."""
SMALL_FILES = 64 * 2**10
"""Bytes of a trial's records, rows, predictions and log."""
FILES_A_TRIAL = 10
PREFETCHED = 2
"""Batches that each loading process keeps ahead."""
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine has; None where there is no limit or no way to know."""

    free_bytes: int | None = None
    free_files: int | None = None
    """Inodes."""
    file_handles: int | None = None
    """Of a process."""
    processes: int | None = None
    """Processes and threads of this user."""
    shared_bytes: int | None = None
    """Free in /dev/shm."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """What training takes of a machine, at least."""

    num_bytes: int
    num_files: int
    file_handles: int
    processes: int
    shared_bytes: int


def check_machine(trials: Sequence[Trial], settings: RunSettings) -> None:
    """Look whether this machine can hold what training `trials` writes and opens.

    Raises:
        NotReadyError: naming all that is too small.
    """
    need, machine = estimate_need(trials, settings), look_at(settings.results_root)
    missing = shortages(need, machine, settings.results_root)
    if missing and need.num_bytes > (machine.free_bytes or 0):  # interrupted trials have a part of it on disk already
        already = _bytes_of_checkpoints(trials, settings.results_root)
        missing = shortages(need, machine, settings.results_root, already)
    if missing:
        raise NotReadyError("this machine cannot hold what is about to run:\n" + "\n".join(f"  {m}" for m in missing))


def look_at(results_root: Path) -> Machine:
    """The limits of this process and what is free for `results_root`; an object store has no end."""
    free_bytes, free_files = free_space(results_root) if is_local(results_root) else (None, None)
    return Machine(
        free_bytes=free_bytes,
        free_files=free_files,
        file_handles=limit_of(resource.RLIMIT_NOFILE),
        processes=None if os.geteuid() == 0 else limit_of(resource.RLIMIT_NPROC),  # root is held to none
        shared_bytes=shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None,
    )


def free_space(folder: Path) -> tuple[int, int | None]:
    """Bytes and files that fit where `folder` lies or will lie; None for files where the file system counts none."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None


def limit_of(kind: int) -> int | None:
    """The soft limit of this process, None without one."""
    soft, _ = resource.getrlimit(kind)
    return None if soft == resource.RLIM_INFINITY else soft


def estimate_need(trials: Sequence[Trial], settings: RunSettings) -> Need:
    """What training `trials` takes, at least."""
    is_here = settings.address is None
    num_together = _num_together(trials, settings)
    checkpoints = sorted(_checkpoint_bytes(trial) for trial in trials)
    is_ray = settings.executor == "ray_tune" and is_here
    return Need(
        num_bytes=sum(_num_params(trial) for trial in trials) * BYTES_A_NUMBER
        + sum(checkpoints[:num_together]) * NUM_CHECKPOINTS
        + len(trials) * SMALL_FILES,
        num_files=len(trials) * FILES_A_TRIAL,
        file_handles=128 + 16 * num_together if is_ray else 64,
        processes=128 + 32 * num_together if is_ray else 16,
        shared_bytes=min((_shared_bytes(trial, settings) for trial in trials), default=0) if is_here else 0,
    )


def shortages(need: Need, machine: Machine, place: Path, already: int = 0) -> list[str]:
    """A sentence for each thing of which there is too little, with what to do.

    Args:
        already: bytes of what is needed that are on disk.
    """
    found = []
    num_bytes = need.num_bytes - already
    if machine.free_bytes is not None and num_bytes > machine.free_bytes:
        found.append(
            f"disk: weights and checkpoints take at least {size_text(num_bytes)} and "
            f"{size_text(machine.free_bytes)} are free at {place}; free some (`orch gc` tells what can "
            "go), or name another disk with --results"
        )
    if machine.free_files is not None and need.num_files > machine.free_files:
        found.append(
            f"disk: at least {need.num_files:,} files are written and {machine.free_files:,} more fit at {place}"
        )
    if machine.file_handles is not None and need.file_handles > machine.file_handles:
        found.append(
            f"file handles: at least {need.file_handles} are needed and a process may have {machine.file_handles}; "
            "raise them: ulimit -n 4096"
        )
    if machine.processes is not None and need.processes > machine.processes:
        found.append(
            f"processes: at least {need.processes} processes and threads are started and this user may have "
            f"{machine.processes}; raise them: ulimit -u 4096"
        )
    if machine.shared_bytes is not None and need.shared_bytes > machine.shared_bytes:
        found.append(
            f"shared memory: loading images takes at least {size_text(need.shared_bytes)} and "
            f"{size_text(machine.shared_bytes)} are free in {SHARED_MEMORY}; enlarge it (in Docker: --shm-size=8g), "
            "or set resources.cpus to 1"
        )
    return found


def _num_together(trials: Sequence[Trial], settings: RunSettings) -> int:
    """Trials that are trained at once; 1 where that is not known before a cluster answers."""
    if settings.executor == "serial" or settings.address is not None or not trials:
        return 1
    largest = max(settings.resources_of(trial).cpus for trial in trials)
    return max(1, min(len(trials), int((os.cpu_count() or 1) // largest)))


def _num_params(trial: Trial) -> int:
    """0 for an attention without a closed form."""
    return cost.num_params(trial) if cost.is_closed_form(trial) else 0


def _checkpoint_bytes(trial: Trial) -> int:
    """Weights, what the optimizer keeps, and the moving average where there is one."""
    copies = 1 + MOMENTS.get(trial.train.optimizer, 0) + (trial.train.ema_decay is not None)
    return _num_params(trial) * copies * BYTES_A_NUMBER


def _shared_bytes(trial: Trial, settings: RunSettings) -> int:
    """Batches on their way from loading processes; digits and CIFAR are decoded in the training process."""
    num_loaders = max(0, int(settings.resources_of(trial).cpus) - 1)
    if trial.data.name not in ("image_folder", "parquet"):
        return 0
    pixels = trial.data.in_chans * trial.model.img_size**2
    return num_loaders * PREFETCHED * trial.train.batch_size * pixels * 4


def _bytes_of_checkpoints(trials: Sequence[Trial], results_root: Path) -> int:
    folders = (ResultsDir(results_root).trial(trial.trial_id).checkpoints for trial in trials)
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
