"""Which device a trial computes on, its name, and the most memory it used there."""

from __future__ import annotations

import gc
import re
import resource
from pathlib import Path

import torch

from orchestrator.errors import DeviceLostError, NotReadyError
from orchestrator.provenance import cpu_name


def pick_device(gpus: float) -> str:
    """`cuda` where GPUs are asked for, else `cpu`; starts the count of peak memory anew.

    Raises:
        NotReadyError: a GPU was asked for and none is visible; there is no silent move to the CPU.
        DeviceLostError: the GPU answers this process no more, as after an assertion that failed on it.
    """
    if gpus == 0:
        return "cpu"
    if not torch.cuda.is_available():
        raise NotReadyError("resources.gpus asks for a GPU and none is visible here; set it to 0 to train on the CPU")
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        told = str(error).strip().partition("\n")[0]
        raise DeviceLostError(f"the GPU answers this process no more: {told}; a new start goes on") from error
    count_peak_memory_anew()
    return "cuda"


def count_peak_memory_anew() -> None:
    """What `peak_memory_mib` tells of a GPU begins here."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def release_memory() -> None:
    """Hand back what a failed step or an earlier trial left on a GPU, where nothing refers to it any more."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def set_arithmetic(device: torch.device) -> None:
    """Equal trials give equal bits on a CPU, by one thread; on a GPU float32 is float32, in convolutions too."""
    is_cpu = device.type == "cpu"
    torch.use_deterministic_algorithms(is_cpu)
    if is_cpu:
        torch.set_num_threads(1)
        # Filling fresh memory with NaN finds bugs and costs time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    else:
        torch.backends.cudnn.allow_tf32 = False


def device_name(device: str) -> str:
    """The GPU's name, or `cpu: ` and the processor's."""
    return torch.cuda.get_device_name() if device == "cuda" else f"cpu: {cpu_name()}"


def peak_memory_mib(device: str) -> float:
    """Of the GPU's allocator since `pick_device`, or of this process since its start.

    On Linux the kernel's VmHWM is read: `ru_maxrss` of a child begins at its parent's peak.
    """
    if device == "cuda":
        return float(torch.cuda.max_memory_allocated() / 2**20)
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)  # bytes, on macOS
    return int(re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)[1]) / 2**10  # type: ignore[index]


def describe_gpus() -> list[str]:
    """Name and memory of each GPU that torch sees."""
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in found]


def gpu_memory_mib() -> float | None:
    """Of the GPU that this process computes on; None where none is visible."""
    return torch.cuda.get_device_properties().total_memory / 2**20 if torch.cuda.is_available() else None


def load_torchvision() -> None:
    """Load what is built for one torch.

    Raises:
        ImportError, OSError, RuntimeError: it was built for another.
    """
    import torchvision  # noqa: F401


def cuda_version() -> str | None:
    """What this torch was built for; None for a torch without CUDA."""
    return torch.version.cuda
