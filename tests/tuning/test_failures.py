"""tuning/failures.py: which error is which kind of failure."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from orchestrator.errors import ChangedCodeError, DataError, DoesNotFitError, GivenUpError, ResultsError, TrainingError
from orchestrator.failure import POLICIES, FailureKind, next_step
from orchestrator.record import State
from orchestrator.tuning.failures import (
    classify,
    classify_worker_death,
    describe_failure,
    error_signature,
    told_traceback,
)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out_of_memory"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "out_of_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "out_of_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), "out_of_memory"),
        (RuntimeError("Triton Error [CUDA]: out of memory"), "out_of_memory"),
        (MemoryError(), "host_out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "host_out_of_memory"),
        (RuntimeError("CUDA error: unspecified launch failure"), "device_lost"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "device_lost"),
        (RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"), "device_lost"),
        (RuntimeError("CUDA driver error: unknown error"), "device_lost"),
        (RuntimeError("CUDA error: device-side assert triggered"), "own_code"),
        (RuntimeError("Triton Error [CUDA]: device-side assert triggered"), "own_code"),
        (RuntimeError("CUDA error: invalid configuration argument"), "own_code"),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "own_code"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm(...)`"), "own_code"),
        (DoesNotFitError("32 would fit"), "out_of_memory"),
        (GivenUpError("3 starts in a row", "hung"), "hung"),
        (ChangedCodeError("torch 2.0, now 2.1"), "changed_code"),
        (DataError("cannot read a.png"), "data"),
        (ResultsError("cannot write record.json"), "disk"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (TrainingError("its size must be even"), "cannot_train"),
        (OSError(errno.ENOENT, "No such file"), "own_code"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "own_code"),
        (ZeroDivisionError("division by zero"), "own_code"),
    ],
)  # fmt: skip
def test_an_error_has_its_kind(error: BaseException, kind: str) -> None:
    assert classify(error).value == kind


def test_a_real_allocation_that_no_machine_can_make_is_the_hosts_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.uint8)
    assert classify(caught.value) is FailureKind.HOST_OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("Task was killed due to the node running low on memory.", "host_out_of_memory"),
        ("The actor died because its node has died. Node Id: ab", "worker_lost"),
        ("the process was killed by the OOM killer due to high memory usage, or ray stop was called", "worker_lost"),
    ],
)
def test_a_dead_worker_has_its_kind(told: str, kind: str) -> None:
    assert classify_worker_death(told).value == kind


def bug(size: int) -> None:
    raise ValueError(f"a head of {size} channels at {object()!r}")


def other_bug() -> None:
    raise ValueError("a head of 3 channels")


def signature_of(*call) -> str:
    try:
        call[0](*call[1:])
    except ValueError as error:
        return error_signature(error)
    raise AssertionError


def test_one_bug_met_at_two_sizes_has_one_signature_and_two_bugs_have_two() -> None:
    assert signature_of(bug, 3) == signature_of(bug, 4)
    assert signature_of(bug, 3) != signature_of(other_bug)
    assert "ValueError" in signature_of(bug, 3)


def test_every_kind_has_a_policy_in_words() -> None:
    assert set(POLICIES) == set(FailureKind)
    assert all(policy.meaning and policy.action and policy.next_step for policy in POLICIES.values())
    assert next_step("out_of_memory") == POLICIES[FailureKind.OUT_OF_MEMORY].next_step
    assert next_step("a kind of a later version") == next_step(None) == ""


def test_the_guide_says_what_the_table_says() -> None:
    guide = (Path(__file__).parents[2] / "docs/guides/failures.md").read_text()
    for kind, policy in POLICIES.items():
        assert f"| `{kind}` | {policy.meaning} | {policy.action} | {policy.next_step} |" in guide


def test_only_what_all_trials_may_share_has_a_signature() -> None:
    assert describe_failure("t", ValueError("x")).signature is not None
    assert describe_failure("t", DataError("x")).signature is not None
    assert describe_failure("t", MemoryError()).signature is None


def test_what_is_kept_of_an_error_holds_no_secret() -> None:
    error = ValueError("cannot reach https://me:hunter2@host with api_key=hunter2")
    failed = describe_failure("t", error)
    assert "hunter2" not in told_traceback(error) + (failed.error or "")
    assert "ValueError: cannot reach" in told_traceback(error)
    assert (failed.state, failed.failure) == (State.FAIL, "own_code")
