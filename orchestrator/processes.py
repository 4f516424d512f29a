"""Which machine this is, whether a process on it still runs, and what it started.

Pids come round again, start times do not.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import uuid
from functools import cache
from pathlib import Path


@cache
def this_machine() -> str:
    """8 hex digits for where a pid has its meaning: this machine since it was started, and its container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        place = f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115  the link's target is no path
    except OSError:
        place = str(uuid.getnode())
    return hashlib.sha256(f"{socket.gethostname()} {place}".encode()).hexdigest()[:8]


def start_of(process: int) -> str | None:
    """When a process of this machine began, in a form that only serves to be compared; None where none runs."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _start_by_ps(process)
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # what ended and is not yet collected writes no more


def is_running(process: int, started: str | None = None) -> bool:
    """Whether the process runs on this machine and, where `started` is given, is the one that began then."""
    found = start_of(process)
    return found is not None and started in (None, found)


def descendants(process: int) -> dict[int, str]:
    """Processes below `process` and their command lines, where the system has /proc; else none."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(") ")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
    found: dict[int, str] = {}
    grown = {process}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown}
        found |= {child: _command_line(child) for child in grown}
    return found


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _start_by_ps(process: int) -> str | None:
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(process)], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None
