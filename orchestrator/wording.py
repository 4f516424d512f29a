"""Words that many messages share: a size, and a command that a person can paste into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

DEFAULT_ROOT = "results"
"""The results root that needs no naming."""


def size_text(num_bytes: int) -> str:
    """`512 B`, `1.5 KiB`, `2.0 GiB`."""
    size, units = float(num_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} B" if units[0] == "B" else f"{size:,.1f} {units[0]}"


def orch_command(words: Sequence[str], root: Path) -> str:
    """`orch WORDS`, quoted, with the results root where it is not the default one."""
    named = [] if str(root) == DEFAULT_ROOT else ["--results", str(root)]
    return shlex.join(["orch", *words, *named])
