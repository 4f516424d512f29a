"""A path in, the type of the file system it lies on out; from Linux's table of mounts, nothing is written."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

NETWORK_TYPES = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs"),
        *("lustre", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs"),
    )
)
"""File systems that several machines share, on which SQLite's locks cannot be trusted."""


def filesystem_of(path: Path, mounts: Path = MOUNTS) -> str | None:
    """Type of the file system that holds `path`, which need not exist yet; None where the system does not tell."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    places = {_unescape(fields[1]): fields[2] for line in lines if len(fields := line.split()) > 2}
    resolved = path.resolve()
    return next((places[str(place)] for place in (resolved, *resolved.parents) if str(place) in places), None)


def sqlite_warning(path: Path, again: str, mounts: Path = MOUNTS) -> str | None:
    """What a person should know before MLflow's SQLite file is kept at `path`; None where that is safe.

    Args:
        again: the command that builds the store anew.
    """
    kind = filesystem_of(path, mounts)
    if kind not in NETWORK_TYPES:
        return None
    return (
        f"{path} would be a SQLite file on {kind}, a file system that machines share, where SQLite can be damaged; "
        "set MLFLOW_TRACKING_URI to a server or to a file on a local disk. Every number is in the results folder all "
        f"the same, and `{again}` builds MLflow's store anew"
    )


def _unescape(text: str) -> str:
    r"""The table writes blanks in a path as \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
