"""Each test has a cache folder of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.captures import Again, use


@pytest.fixture(autouse=True)
def own_cache(repeatable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ORCH_CACHE", str(folder))
    return folder


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[list[Again]]:
    """The CPU captures too; one capture a trainer."""
    made: list[Again] = []
    use(monkeypatch, Again, made)
    with caplog.at_level(logging.INFO, logger="orchestrator"):
        yield made
