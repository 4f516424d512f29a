"""`orch doctor`: this machine and this install in; a line a check out, and whether something has to be mended."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from orchestrator.cli_place import check_root
from orchestrator.errors import OrchestratorError
from orchestrator.places import is_local
from orchestrator.results import ResultsDir
from orchestrator.tuning import doctor_install, doctor_machine
from orchestrator.tuning.doctor_check import Check, Grade
from orchestrator.tuning.mounts import filesystem_of
from orchestrator.tuning.preflight import SHARED_MEMORY, free_space, limit_of, look_at

NVIDIA_DRIVER = Path("/sys/module/nvidia/version")


def run_doctor(results: Path, as_json: bool) -> int:
    """Print what was found; 0, or 3 where something must be mended."""
    checks = [*_install_checks(), *_machine_checks(), *_root_checks(results)]
    if as_json:
        click.echo(json.dumps({"checks": [check.to_json() for check in checks]}, indent=2))
    else:
        for check in checks:
            advice = f"  -> {check.advice}" if check.grade is not Grade.OK else ""
            click.echo(f"{check.grade:<4} {check.name}: {check.found}{advice}")
    return 3 if any(check.grade is Grade.MEND for check in checks) else 0


def _install_checks() -> list[Check]:
    versions = {name: _version(name) for name in doctor_install.LIBRARIES}
    return [
        doctor_install.check_python(tuple(sys.version_info[:3])),
        *doctor_install.check_libraries(versions),
        *_torch_checks(),
    ]


def _torch_checks() -> list[Check]:
    try:
        from orchestrator.training.device import cuda_version, describe_gpus, load_torchvision

        load_torchvision()
    except (ImportError, OSError, RuntimeError) as error:
        return [doctor_install.check_match(f"{type(error).__name__}: {error}")]
    driver = NVIDIA_DRIVER.read_text().strip() if NVIDIA_DRIVER.exists() else None
    return [doctor_install.check_match(None), doctor_install.check_gpus(describe_gpus(), cuda_version(), driver)]


def _machine_checks() -> list[Check]:
    total_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    processes = None if os.geteuid() == 0 else limit_of(resource.RLIMIT_NPROC)
    return [
        doctor_machine.check_file_handles(limit_of(resource.RLIMIT_NOFILE)),
        doctor_machine.check_processes(processes),
        doctor_machine.check_shared_memory(look_at(SHARED_MEMORY).shared_bytes),
        doctor_machine.check_memory(total_bytes, doctor_machine.memory_limit()),
        doctor_machine.check_token(doctor_machine.token_file()),
    ]


def _root_checks(results: Path) -> list[Check]:
    """Of the place where results lie or will lie."""
    try:
        check_root(ResultsDir(results))
    except OrchestratorError as error:
        return [doctor_machine.refused_root(error)]
    if not is_local(results):
        return [doctor_machine.check_root(results), doctor_machine.check_clock(time.time(), None)]
    free_bytes, free_files = free_space(results)
    return [
        doctor_machine.check_root(results),
        doctor_machine.check_disk(free_bytes, results),
        doctor_machine.check_files(free_files),
        doctor_machine.check_filesystem(filesystem_of(results)),
        doctor_machine.check_clock(time.time(), doctor_machine.written_now(results)),
    ]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
