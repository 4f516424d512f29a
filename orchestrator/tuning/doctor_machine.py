"""What this machine and the results root have in, a check each out: disk, limits, memory, files, clocks, token."""

from __future__ import annotations

import os
import stat
import uuid
from datetime import UTC, datetime
from pathlib import Path

from orchestrator import durable
from orchestrator.errors import OrchestratorError
from orchestrator.places import is_local
from orchestrator.tuning.doctor_check import Check, mend, note, ok
from orchestrator.tuning.mounts import NETWORK_TYPES

GIB = 2**30
MIN_FREE_GIB = 2.0
MIN_FREE_FILES = 10_000
MIN_FILE_HANDLES = 1024
MIN_PROCESSES = 1024
MIN_SHARED_MIB = 256
MIN_MEMORY_GIB = 4.0
MAX_CLOCK_DIFFERENCE_S = 60.0
WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)
"""No clock that is right shows less."""
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def check_disk(free_bytes: int, place: Path) -> Check:
    found = f"{free_bytes / GIB:.1f} GiB free for {place}"
    if free_bytes < MIN_FREE_GIB * GIB:
        return mend("disk", found, f"free {MIN_FREE_GIB:g} GiB; `orch gc` tells what can go")
    return ok("disk", found)


def check_files(free_files: int | None) -> Check:
    if free_files is None:
        return ok("files", "this file system does not count them")
    if free_files < MIN_FREE_FILES:
        return mend("files", f"{free_files:,} more fit on the disk", "remove files: a trial takes about ten")
    return ok("files", f"{free_files:,} more fit on the disk")


def check_file_handles(limit: int | None) -> Check:
    return _limit("file handles", limit, MIN_FILE_HANDLES, "ulimit -n")


def check_processes(limit: int | None) -> Check:
    return _limit("processes", limit, MIN_PROCESSES, "ulimit -u")


def _limit(name: str, limit: int | None, least: int, command: str) -> Check:
    if limit is not None and limit < least:
        return mend(name, f"at most {limit}", f"raise them: {command} {4 * least}")
    return ok(name, "no limit" if limit is None else f"at most {limit:,}")


def check_shared_memory(free_bytes: int | None) -> Check:
    if free_bytes is None:
        return ok("shared memory", "this system has no /dev/shm")
    found = f"{free_bytes / 2**20:.0f} MiB free"
    if free_bytes < MIN_SHARED_MIB * 2**20:
        advice = "Ray moves to /tmp, and loading processes need it for large images; in Docker: --shm-size=8g"
        return note("shared memory", found, advice)
    return ok("shared memory", found)


def check_memory(total_bytes: int, limit_bytes: int | None) -> Check:
    """Of the machine, or of its container where that has less."""
    usable = min(total_bytes, limit_bytes or total_bytes)
    found = f"{usable / GIB:.1f} GiB" + (" (a limit of the container)" if usable < total_bytes else "")
    if usable < MIN_MEMORY_GIB * GIB:
        advice = (
            "Ray and each trial take about 1 GiB; train fewer at once with resources.cpus, or with --executor serial"
        )
        return note("memory", found, advice)
    return ok("memory", found)


def check_filesystem(kind: str | None) -> Check:
    if kind in NETWORK_TYPES:
        advice = "results are safe there; SQLite is not, so set MLFLOW_TRACKING_URI to a server or to a local file"
        return note("file system", f"{kind}, which machines share", advice)
    return ok("file system", kind or "unknown")


def check_root(root: Path) -> Check:
    """Whether files can be written, and of two that create one file only one does, which claims rest on."""
    if is_local(root) and not root.exists():
        return ok("results", f"{root} is made by the first run")
    probe = root / f"{durable.TEMPORARY_PREFIX}doctor-{uuid.uuid4().hex}.json"
    try:
        made = [durable.create_sealed_json(probe, {}) for _ in range(2)]
        durable.remove_file(probe)
    except OrchestratorError as error:
        return refused_root(error)
    if made != [True, False]:
        other = "name a folder on another file system" if is_local(root) else "name a store that heeds If-None-Match"
        return mend("results", f"{root} lets two processes create one file, so no run could hold a sweep", other)
    return ok("results", f"{root} can be written, and a file is created once")


def refused_root(error: OrchestratorError) -> Check:
    """A root that cannot be read or written; advice that the error ends with is not given twice."""
    found = str(error)
    if found.endswith(durable.OTHER_FOLDER):
        return mend("results", found.removesuffix(durable.OTHER_FOLDER), durable.OTHER_FOLDER.removeprefix("; "))
    return mend("results", found, "name another folder with --results")


def check_clock(now: float, written_at: float | None) -> Check:
    """Clocks decide nothing in orch; people read them.

    Args:
        now: by this machine.
        written_at: of a file that was written now, by the machine of the results root.
    """
    found = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    if now < WRITTEN.timestamp():
        return note("clock", found, "this clock is wrong: the times in records will be, and TLS may refuse")
    if written_at is not None and abs(now - written_at) > MAX_CLOCK_DIFFERENCE_S:
        apart = f"{found}, {abs(now - written_at):.0f} s from that of the results folder"
        return note("clock", apart, "set both by NTP; `status` judges runs on other machines by these clocks")
    return ok("clock", found)


def check_token(path: Path) -> Check:
    """Ray's token: who reads it can run code in this user's clusters."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return ok("Ray token", "none yet; the first run makes one")
    except OSError as error:
        return note("Ray token", f"{path} cannot be looked at: {error.strerror}", "see who owns the folder")
    if mode & 0o077:
        return mend("Ray token", f"{path} has mode {mode:04o}, so others can read it", f"chmod 600 {path}")
    return ok("Ray token", f"{path}, mode {mode:04o}")


def token_file() -> Path:
    """Where Ray looks for it."""
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named).expanduser() if named else Path.home() / ".ray" / "auth_token"


def memory_limit(files: tuple[Path, ...] = CGROUP_LIMITS) -> int | None:
    """Bytes that the container may use, None without a limit."""
    for path in files:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            return int(text)
    return None


def written_now(root: Path) -> float | None:
    """When a file that is written now was written, by the clock of the root's machine; None without a root."""
    if not root.is_dir():
        return None
    probe = root / f"{durable.TEMPORARY_PREFIX}clock-{os.getpid()}"
    try:
        durable.write_text(probe, "")
        found = probe.stat().st_mtime
        durable.remove_file(probe)
    except (OrchestratorError, OSError):
        return None  # `check_root` tells why
    return found
