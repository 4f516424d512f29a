"""What goes wrong with trials, by name, and what is then done: one table that code, `status` and the docs all read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

MAX_LOST_STARTS = 3
"""Starts of a trial in one run that end without an outcome, none further than the one before; then it FAILs."""

MAX_LOST_STARTS_OVER_RUNS = 10
"""The same over several runs, whose own end may have been what ended the trial."""

MAX_SAME_ERROR = 3
"""Trials of one run that fail with the same traceback; then the run stops."""


class FailureKind(StrEnum):
    """Why a start of a trial came to no result. A value, once on disk, is never removed from this list."""

    OUT_OF_MEMORY = "out_of_memory"
    HOST_OUT_OF_MEMORY = "host_out_of_memory"
    DEVICE_LOST = "device_lost"
    HUNG = "hung"
    CRASH_LOOP = "crash_loop"
    WORKER_LOST = "worker_lost"
    OWN_CODE = "own_code"
    CANNOT_TRAIN = "cannot_train"
    DATA = "data"
    DISK = "disk"
    CHANGED_CODE = "changed_code"


DEVICE_IS_FULL = (
    "CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED", "Triton Error [CUDA]: out of memory",
)  # fmt: skip
"""What torch, cuBLAS, cuDNN and Triton say where a GPU's memory is full."""


def is_device_full(error: BaseException) -> bool:
    """Whether a GPU's memory ran out; errors of torch are known by name and message, so that it is not imported."""
    names = [(cls.__module__.partition(".")[0], cls.__name__) for cls in type(error).__mro__]
    is_told = isinstance(error, RuntimeError) and any(text in str(error) for text in DEVICE_IS_FULL)
    return is_told or ("torch", "OutOfMemoryError") in names


@dataclass(frozen=True)
class Policy:
    """What one kind of failure means and what follows from it, in words for people."""

    meaning: str
    action: str
    """What orch does by itself."""
    next_step: str
    """What a person does when the trial has FAILed; empty where it does not end so."""


POLICIES: Mapping[FailureKind, Policy] = {
    FailureKind.OUT_OF_MEMORY: Policy(
        "a step does not fit the device's memory",
        "finds the largest halved micro-batch that fits; goes on with it, the batch of the optimizer unchanged and the "
        "record marked, or FAILs with the sizes that fit where the attention has batch statistics (`resources.oom`)",
        "set train.micro_batch_size, or resources.oom: halve",
    ),
    FailureKind.HOST_OUT_OF_MEMORY: Policy(
        "the machine's own memory ran out, or Ray's memory monitor ended the worker",
        "a worker that was ended is started again from its checkpoint; FAILs after "
        f"{MAX_LOST_STARTS} starts that came no further, and at an error inside the trial",
        "give a trial more resources.cpus, so that fewer run side by side, then --retry-failed",
    ),
    FailureKind.DEVICE_LOST: Policy(
        "the GPU or its driver failed; its process can compute no more",
        "ends the process and starts the trial again from its checkpoint in a new one",
        "look at the GPU (nvidia-smi, dmesg), then --retry-failed",
    ),
    FailureKind.HUNG: Policy(
        "no step for resources.hang_minutes",
        "saves the stacks of all threads, ends the process, starts the trial again from its checkpoint; FAILs after "
        f"{MAX_LOST_STARTS} starts that came no further",
        "read the stacks beside the attempt, then --retry-failed",
    ),
    FailureKind.CRASH_LOOP: Policy(
        "its process died again and again, without coming further",
        f"FAILs after {MAX_LOST_STARTS} starts in a run ({MAX_LOST_STARTS_OVER_RUNS} over several runs) from one "
        "checkpoint; starts that came further never count",
        "read `orch logs`, then --retry-failed",
    ),
    FailureKind.WORKER_LOST: Policy(
        "its process or node died",
        "starts the trial again from its checkpoint, wherever there is room",
        "nothing: the next start goes on",
    ),
    FailureKind.OWN_CODE: Policy(
        "an error in the model, a user's own attention or orch itself",
        f"FAILs with the traceback; the run stops once {MAX_SAME_ERROR} trials failed with the same one "
        "(`--keep-going` trains on)",
        "mend it, then --retry-failed",
    ),
    FailureKind.CANNOT_TRAIN: Policy(
        "the trial cannot be built or trained as it was asked",
        "FAILs with what is wrong; other trials go on",
        "change the spec",
    ),
    FailureKind.DATA: Policy(
        "an image or a file of the dataset cannot be read",
        "FAILs and names it",
        "mend the file, then --retry-failed",
    ),
    FailureKind.DISK: Policy(
        "the results folder cannot be written",
        "FAILs; what was committed before stays",
        "make room, then --retry-failed",
    ),
    FailureKind.CHANGED_CODE: Policy(
        "code, libraries or data differ from those that half trained it",
        "refuses to go on and names the difference",
        "--allow-code-change goes on and marks it, --retrain-changed starts it over",
    ),
}
"""One row a kind of failure."""


def next_step(kind: str | None) -> str:
    """What a person does about a trial that FAILed so; empty for a kind that this version does not know."""
    known = {policy_kind.value: policy for policy_kind, policy in POLICIES.items()}
    return known[kind].next_step if kind in known else ""
