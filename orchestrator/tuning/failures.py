"""An exception in, the kind of failure it is, and what tells two failures of one cause apart from two causes, out.

Errors of torch and Ray are known by name and message, so nothing heavy is imported.
"""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from orchestrator.errors import (
    ChangedCodeError,
    DataError,
    DeviceLostError,
    DoesNotFitError,
    GivenUpError,
    NotReadyError,
    OrchestratorError,
    ResultsError,
    TrainingError,
)
from orchestrator.failure import FailureKind, is_device_full
from orchestrator.record import State
from orchestrator.redact import redact_text
from orchestrator.tuning.events import TrialEnded

OF_ERRORS: tuple[tuple[type[BaseException], FailureKind], ...] = (
    (DoesNotFitError, FailureKind.OUT_OF_MEMORY),
    (ChangedCodeError, FailureKind.CHANGED_CODE),
    (DeviceLostError, FailureKind.DEVICE_LOST),
    (DataError, FailureKind.DATA),
    (ResultsError, FailureKind.DISK),
    (TrainingError, FailureKind.CANNOT_TRAIN),
    (NotReadyError, FailureKind.CANNOT_TRAIN),
    (MemoryError, FailureKind.HOST_OUT_OF_MEMORY),
)
"""The first class that fits counts."""

OF_MESSAGES: tuple[tuple[str, FailureKind], ...] = (
    ("DefaultCPUAllocator: can't allocate memory", FailureKind.HOST_OUT_OF_MEMORY),
    ("DefaultCPUAllocator: not enough memory", FailureKind.HOST_OUT_OF_MEMORY),
    ("unable to allocate shared memory", FailureKind.HOST_OUT_OF_MEMORY),
    ("device-side assert", FailureKind.OWN_CODE),
    ("CUDA error: invalid argument", FailureKind.OWN_CODE),
    ("CUDA error: invalid configuration argument", FailureKind.OWN_CODE),
    ("CUDA error: no kernel image is available", FailureKind.OWN_CODE),
    ("CUBLAS_STATUS_INVALID_VALUE", FailureKind.OWN_CODE),
    ("CUBLAS_STATUS_NOT_SUPPORTED", FailureKind.OWN_CODE),
    ("CUDA error", FailureKind.DEVICE_LOST),
    ("CUDA driver error", FailureKind.DEVICE_LOST),
    ("Triton Error [CUDA]", FailureKind.DEVICE_LOST),
    ("CUDNN_STATUS_EXECUTION_FAILED", FailureKind.DEVICE_LOST),
    ("uncorrectable ECC", FailureKind.DEVICE_LOST),
    ("NCCL error", FailureKind.DEVICE_LOST),
    ("gloo/transport", FailureKind.DEVICE_LOST),
)
"""What stands in the message of a RuntimeError of torch; the first one that is found counts."""

SHARED = (FailureKind.OWN_CODE, FailureKind.DATA)
"""Met again and again, such a failure is one that all trials share."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

MEMORY_MONITOR = ("memory monitor", "low on memory")
"""What Ray says of a worker that was ended because its node ran out of memory."""


def classify(error: BaseException) -> FailureKind:
    """The kind of failure that ended a trial with `error`; what is none of the others is the fault of some code."""
    if isinstance(error, GivenUpError):
        return FailureKind(error.kind)
    if is_device_full(error):
        return FailureKind.OUT_OF_MEMORY
    for kind_of_error, kind in OF_ERRORS:
        if isinstance(error, kind_of_error):
            return kind
    if isinstance(error, OSError) and error.errno in FULL:
        return FailureKind.DISK
    if isinstance(error, RuntimeError):
        return next((kind for text, kind in OF_MESSAGES if text in str(error)), FailureKind.OWN_CODE)
    return FailureKind.OWN_CODE


def describe_failure(trial_id: str, error: BaseException) -> TrialEnded:
    """How the trial ended that `error` ended; without secrets."""
    kind = classify(error)
    is_told = isinstance(error, OrchestratorError)
    return TrialEnded(
        trial_id,
        State.FAIL,
        error=redact_text(str(error) if is_told else f"{type(error).__name__}: {error}"),
        failure=kind.value,
        signature=error_signature(error) if kind in SHARED else None,
    )


def told_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without secrets."""
    return redact_text("".join(traceback.format_exception(error)))


def classify_worker_death(told: str) -> FailureKind:
    """The kind of failure behind a worker that has died, by what Ray says of it."""
    is_memory = any(text in told for text in MEMORY_MONITOR)
    return FailureKind.HOST_OUT_OF_MEMORY if is_memory else FailureKind.WORKER_LOST


def error_signature(error: BaseException) -> str:
    """Type and place of an error, frame by frame; equal for one bug met by two trials, whatever their sizes."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    return " > ".join([*places, type(error).__qualname__])
