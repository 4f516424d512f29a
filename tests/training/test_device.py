from __future__ import annotations

import pytest
import torch

from orchestrator.errors import DeviceLostError, NotReadyError
from orchestrator.training.device import (
    cuda_version,
    describe_gpus,
    device_name,
    load_torchvision,
    peak_memory_mib,
    pick_device,
    set_arithmetic,
)


def test_no_gpu_asked_for_means_the_cpu() -> None:
    assert pick_device(0) == "cpu"
    assert device_name("cpu").startswith("cpu: ")
    assert all("GiB" in gpu for gpu in describe_gpus())
    assert bool(describe_gpus()) <= (cuda_version() is not None)
    load_torchvision()


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(NotReadyError, match=r"resources\.gpus"):
        pick_device(0.5)


def test_a_gpu_that_answers_no_more_is_lost_and_not_the_next_trials_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", refuse)
    with pytest.raises(
        DeviceLostError, match=r"answers this process no more: .*assert triggered; a new start goes on$"
    ):
        pick_device(1)


@pytest.mark.parametrize(("device", "is_exact"), [("cuda", False), ("cpu", True)])
def test_a_cpu_is_deterministic_and_float32_is_float32_on_a_gpu(device: str, is_exact: bool) -> None:
    set_arithmetic(torch.device(device))
    assert torch.are_deterministic_algorithms_enabled() is is_exact
    if device == "cuda":
        assert not torch.backends.cudnn.allow_tf32
    else:
        assert torch.get_num_threads() == 1


def test_peak_memory_of_the_process_only_grows() -> None:
    before = peak_memory_mib("cpu")
    block = torch.ones(8 * 2**20)
    assert peak_memory_mib("cpu") >= before > 10
    assert block.sum() == 8 * 2**20


@pytest.mark.gpu
def test_a_gpu_is_named_and_measured() -> None:
    assert pick_device(1) == "cuda"
    block = torch.ones(2**20, device="cuda")
    assert peak_memory_mib("cuda") >= block.numel() * 4 / 2**20
    assert not device_name("cuda").startswith("cpu")
