"""Versions and devices in, a check each out: Python, the libraries, the holes that old ones are known for, GPUs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.tuning.doctor_check import Check, mend, note, ok

MIN_PYTHON = (3, 11)
LIBRARIES = (
    *("torch", "torchvision", "timm", "ray", "mlflow", "optuna", "pandas", "matplotlib", "scipy", "scikit-learn"),
    *("pyarrow", "safetensors", "PyYAML", "pillow"),
)


@dataclass(frozen=True)
class Hole:
    """A version below which a library is known to be open."""

    library: str
    fixed_in: str
    advisory: str


HOLES = (
    Hole(
        "ray", "2.8.1", "CVE-2023-6019, -6020, -6021 and -48023: whoever reaches the dashboard runs code or reads files"
    ),
    Hole("ray", "2.52", "CVE-2025-62593: a web page could reach a dashboard on loopback"),
    Hole("mlflow", "3.10", "CVE-2026-2652: basic authentication could be bypassed"),
    Hole("mlflow", "3.11", "PYSEC-2026-93 and PYSEC-2026-94"),
    Hole("torch", "2.6", "CVE-2025-32434: torch.load ran code even with weights_only"),
)
"""Floors of a server or a loader that orch starts or calls; `pip-audit` knows all advisories."""


def check_python(version: tuple[int, ...]) -> Check:
    found = ".".join(str(part) for part in version)
    return ok("python", found) if version[:2] >= MIN_PYTHON else mend("python", found, "install Python 3.11 or newer")


def check_library(name: str, version: str | None) -> Check:
    """There, and with no hole that is known here."""
    if version is None:
        return mend(name, "missing", f"pip install {name}")
    open_holes = [h for h in HOLES if h.library == name and release(version) < release(h.fixed_in)]
    if not open_holes:
        return ok(name, version)
    told = "; ".join(hole.advisory for hole in open_holes)
    return mend(name, f"{version} has known holes ({told})", f"pip install -U '{name}>={open_holes[-1].fixed_in}'")


def check_libraries(versions: Mapping[str, str | None]) -> list[Check]:
    return [check_library(name, versions.get(name)) for name in LIBRARIES]


def check_match(error: str | None) -> Check:
    """Whether torch and torchvision, which is built against one torch, load together."""
    if error is None:
        return ok("torch and torchvision", "load together")
    return mend(
        "torch and torchvision",
        f"do not load: {error}",
        "install versions that match: pip install -U torch torchvision",
    )


def check_gpus(gpus: Sequence[str], cuda: str | None, driver: str | None) -> Check:
    """GPUs that torch sees.

    Args:
        gpus: name and memory of each.
        cuda: the CUDA version that torch was built for, None for a torch without.
        driver: the version of NVIDIA's driver, None where there is none.
    """
    if gpus:
        return ok("GPUs", f"{'; '.join(gpus)}; CUDA {cuda or 'none'}, driver {driver or 'unknown'}")
    if driver is None:
        return ok("GPUs", "none, trials train on the CPU")
    if cuda is None:
        return mend("GPUs", f"driver {driver}, but this torch has no CUDA", "install a torch that was built for CUDA")
    return note(
        "GPUs",
        f"driver {driver} and CUDA {cuda}, but torch sees no GPU",
        "look at CUDA_VISIBLE_DEVICES and nvidia-smi; the driver may be older than this CUDA asks for",
    )


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, without what follows them: (2, 52, 0) for 2.52.0rc1."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
