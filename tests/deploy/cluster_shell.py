"""A shell for the files of deploy/: programs of a cluster in PATH, an environment without this one's settings."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.markdown_pages import ROOT

ORCH = f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n'
SPEC = """\
name: tiny
axes: {depth: [1, 2]}
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 2.0}
data: {name: digits}
train: {epochs: 1, batch_size: 256, lr: 2.0e-3}
tracking: {mlflow: false}
"""
"""Two trials of about a second each."""


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def shell_environment(folder: Path, **more: str) -> dict[str, str]:
    """What a login shell would have in which `folder`/bin comes first and orch is this checkout's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "ORCH_", "SLURM_"))}
    path = os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    home = folder / "home"
    home.mkdir(exist_ok=True)
    own = {"PATH": path, "HOME": str(home), "PYTHONPATH": str(ROOT), "ORCH_CACHE": str(folder / "cache")}
    return kept | own | more


def processes_naming(text: str) -> list[str]:
    """Command lines in which `text` stands, as Ray's processes name their session folder in theirs."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if text in line]


def wait_until_gone(text: str, seconds: float = 30.0) -> list[str]:
    """Processes that name `text` and are still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while (found := processes_naming(text)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found
