"""What every test gets: no network, one thread, a clean environment, a two-block model."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.processor_speed import ProcessorSpeed

collect_ignore = ["tuning/other_data"]
"""What Python imports at its start where a test puts it on the path, and what changes what it imports then."""

CLEARED = ("ORCH_", "MLFLOW_", "RAY_ADDRESS", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "COLUMNS", "LINES")
"""Beginnings of the names that a person's shell may set and a test must not see."""

FIXED = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "DO_NOT_TRACK": "true",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MPLBACKEND": "agg",
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    "RAY_USAGE_STATS_ENABLED": "0",
}


def clean_environment() -> None:
    for name in list(os.environ):
        if name.startswith(CLEARED):
            del os.environ[name]
    os.environ.update(FIXED)


clean_environment()  # before any test module imports a library that reads it
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")


class NetworkRefused(AssertionError):
    """A test asked for something outside this machine."""


def is_this_machine(address: Any) -> bool:
    """Whether a socket address is a path, loopback, or an address of one of this machine's own interfaces."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0]).partition("%")[0]
    if host in ("", "localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return host == socket.gethostname()
    if ip.is_loopback or ip.is_unspecified:
        return True
    with socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Streams reach only this machine; connecting a datagram socket sends nothing (Ray learns its own address so)."""

    def refusing(connect: Any) -> Any:
        def guarded(self: socket.socket, address: Any) -> Any:
            if self.type == socket.SOCK_STREAM and not is_this_machine(address):
                raise NetworkRefused(f"a test tried to reach {address}")
            return connect(self, address)

        return guarded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refusing(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", refusing(socket.socket.connect_ex))
        yield


@pytest.fixture(autouse=True)
def repeatable() -> None:
    """A clean environment for each test and, where torch is loaded, one thread and deterministic algorithms."""
    clean_environment()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)


@pytest.fixture(autouse=True)
def known_speed(monkeypatch: pytest.MonkeyPatch) -> ProcessorSpeed:
    """What the processor is taken for where its speed is asked for, in place of a third of a second's measurement."""
    speed = ProcessorSpeed(flops_s=1e11, adds_s=1e10, calls_s=4e6)
    monkeypatch.setattr("orchestrator.tuning.cold_times.measure_speed", lambda: speed)
    return speed


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture
def results(tmp_path: Path) -> ResultsDir:
    """An empty results root."""
    return ResultsDir(tmp_path / "results")


@pytest.fixture
def tiny_trial() -> Trial:
    """Two blocks, 16 channels, 2 heads, on the bundled digits for 2 epochs: about a second."""
    return Trial(
        model=ModelConfig(depth=2, embed_dim=16, num_heads=2, patch_size=4, img_size=8),
        data=DataConfig(name="digits", num_classes=10, in_chans=1, test_fraction=0.2),
        train=TrainConfig(epochs=2, batch_size=64, lr=2e-3),
        seed=0,
    )
