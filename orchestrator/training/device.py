"""Which device a trial computes on, its name, and the most memory it used there."""

from __future__ import annotations

import resource
import sys

import torch

from orchestrator.errors import NotReadyError
from orchestrator.provenance import cpu_name


def pick_device(gpus: float) -> str:
    """`cuda` where GPUs are asked for, else `cpu`; starts the count of peak memory anew.

    Raises:
        NotReadyError: a GPU was asked for and none is visible; there is no silent move to the CPU.
    """
    if gpus == 0:
        return "cpu"
    if not torch.cuda.is_available():
        raise NotReadyError("resources.gpus asks for a GPU and none is visible here; set it to 0 to train on the CPU")
    torch.cuda.reset_peak_memory_stats()
    return "cuda"


def device_name(device: str) -> str:
    """The GPU's name, or `cpu: ` and the processor's."""
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu: {cpu_name()}"


def peak_memory_mib(device: str) -> float:
    """Of the GPU's allocator since `pick_device`, or of this process since its start."""
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated() / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / 2**20 if sys.platform == "darwin" else peak / 2**10)


def describe_devices() -> str:
    """What torch sees, in words."""
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return "GPUs: " + ", ".join(names) if names else f"no GPU; cpu: {cpu_name()}"
