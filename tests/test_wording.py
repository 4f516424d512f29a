from __future__ import annotations

import shlex
from pathlib import Path

from orchestrator.wording import orch_command, size_text


def test_sizes_for_people() -> None:
    assert [size_text(n) for n in (0, 1023, 1536, 3 * 2**30)] == ["0 B", "1023 B", "1.5 KiB", "3.0 GiB"]


def test_a_command_names_the_root_where_it_is_not_the_default_and_can_be_pasted() -> None:
    assert orch_command(["sync", "s"], Path("results")) == "orch sync s"
    told = orch_command(["run", "my spec.yaml"], Path("/a b/$HOME"))
    assert shlex.split(told) == ["orch", "run", "my spec.yaml", "--results", "/a b/$HOME"]
