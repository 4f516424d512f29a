"""A user's own attention, written for one test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def own_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Writes a source with a class `MyAttention` into the working directory; gives the dotted path of the class."""
    known = set(sys.modules)
    name = f"own_attention_{tmp_path.name}"

    def write(source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        return f"{name}:MyAttention"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield write
    for module in set(sys.modules) - known:
        if module.startswith("own_attention_"):
            del sys.modules[module]
