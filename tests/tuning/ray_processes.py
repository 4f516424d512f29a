"""Process ids in; their descendants, and the addresses they listen at, out. Linux only, as CI is."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable
from pathlib import Path

LISTENS = "0A"


def descendants(process: int) -> list[int]:
    """Running processes below `process`."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = path.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if rest[0] != "Z":
            parents[int(path.parent.name)] = int(rest[1])
    found = [child for child, parent in parents.items() if parent == process]
    return [*found, *(below for child in found for below in descendants(child))]


def listen_addresses(processes: Iterable[int]) -> set[tuple[str, int]]:
    """Host and port of each TCP socket they accept connections at."""
    sockets = {name for process in processes for name in _sockets(process)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS and words[9] in sockets:
                host, _, port = words[1].partition(":")
                found.add((_decode(host), int(port, 16)))
    return found


def _sockets(process: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{process}/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(path.readlink())
                found.update([target[8:-1]] if target.startswith("socket:[") else [])
    return found


def _decode(host: str) -> str:
    words = [int(host[start : start + 8], 16) for start in range(0, len(host), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(words) == 4 and packed[:12] == b"\0" * 10 + b"\xff\xff":
        packed = packed[12:]  # an IPv4 address inside IPv6
    return socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed)
