"""What `conftest.py` promises every test."""

from __future__ import annotations

import os
import socket
import warnings

import pytest
import torch


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("example.invalid", 443), ("2001:db8::1", 80, 0, 0)])
def test_a_stream_to_another_machine_is_refused(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as stream, pytest.raises(AssertionError, match="tried to reach"):
        stream.connect(address)
    with socket.socket(family, socket.SOCK_STREAM) as stream, pytest.raises(AssertionError, match="tried to reach"):
        stream.connect_ex(address)


def test_a_stream_to_this_machine_is_let_through() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=5):
            pass
        with socket.socket() as stream:
            assert stream.connect_ex(("localhost", server.getsockname()[1])) == 0


def test_a_warning_is_an_error() -> None:
    with pytest.raises(UserWarning, match="beware"):
        warnings.warn("beware", stacklevel=1)


def test_settings_leak_neither_from_the_shell_nor_from_an_earlier_test() -> None:
    leaking = {"ORCH_RESULTS", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "NO_COLOR"}
    assert leaking & set(os.environ) == set()
    os.environ["MLFLOW_TRACKING_URI"] = "left behind on purpose"


def test_what_a_test_left_in_the_environment_is_gone() -> None:
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_torch_computes_with_one_thread_and_deterministic_algorithms() -> None:
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
