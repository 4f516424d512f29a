"""Where a number comes from: commit, code fingerprint, versions, machine, command line; no heavy import.

All of it explains results and none of it identifies them.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator import __version__
from orchestrator.redact import redact_words

PACKAGES = ("torch", "torchvision", "timm", "numpy", "optuna", "ray", "mlflow", "scikit-learn", "pyarrow")
FINGERPRINTED_PACKAGES = ("torch", "timm")
FINGERPRINTED_ROOMS = ("models", "training")


@cache
def versions() -> Mapping[str, str]:
    """Versions of orch, Python and the libraries that compute; a missing library is left out."""
    found = {"orch": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def code_fingerprint() -> str:
    """16 hex digits over the sources of `models/` and `training/` and the versions of torch and timm."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for room in FINGERPRINTED_ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    for package_name in FINGERPRINTED_PACKAGES:
        digest.update(f"{package_name} {versions().get(package_name, 'none')}\0".encode())
    return digest.hexdigest()[:16]


@cache
def source_hashes() -> Mapping[str, str]:
    """16 hex digits a source file of `models/` and `training/`, by its path in the package."""
    package = Path(__file__).parent
    files = [path for room in FINGERPRINTED_ROOMS for path in sorted((package / room).rglob("*.py"))]
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in files}
    return {path.relative_to(package).as_posix(): digest for path, digest in hashes.items()}


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Commit of the working tree around `folder`, and whether tracked files differ from it; None outside one."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None, None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit.strip(), None if changes is None else bool(changes.strip())


def command_line(arguments: Sequence[str] | None = None) -> str:
    """The command line as one would type it, secrets removed."""
    words = list(sys.argv if arguments is None else arguments)
    if words:
        words[0] = Path(words[0]).name
    return shlex.join(redact_words(words))


def host() -> str:
    return socket.gethostname()


@cache
def cpu_name() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def utc_now() -> str:
    """ISO 8601, seconds. For people; durations come from monotonic clocks."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
