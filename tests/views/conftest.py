"""One answered sweep for every test that only reads; files of synthetic sweeps need not outlive a power cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.views.frames import Frames, read_frames
from tests.views.answered_sweep import build_answered
from tests.views.sweep_builder import SweepBuilder

AXES: dict[str, Any] = {"depth": [4, 8, 12, 16], "attention": ["self", "reattention", "mix_only"]}


@pytest.fixture(scope="module", autouse=True)
def no_sync() -> Iterator[None]:
    """Writing many small files is quick; what reaches the disk when is tested in `test_durable.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def answered_sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepBuilder:
    """Four depths, three attentions, six seeds; predictions by image, and probes before and after training."""
    return build_answered(tmp_path_factory.mktemp("answered"), AXES)


@pytest.fixture(scope="session")
def frames(answered_sweep: SweepBuilder) -> Frames:
    return read_frames(answered_sweep.results, answered_sweep.name)
