"""Where things lie: a results root by path or by URL, the runs of MLflow, and the user's own cache folder.

A root on an object store is an `ObjectPath`. It has the methods of a `Path` that reading needs, so both are called
`Path` in the types; whatever writes goes through `durable.py`, which knows them apart.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from orchestrator.errors import NotReadyError, UsageError

SCHEMES = ("s3",)
"""Stores that can create an object only where it is not there, which locks need."""


def results_root(text: str) -> Path:
    """The results root that a person wrote: a folder, or `s3://BUCKET/PREFIX`.

    Raises:
        UsageError: the URL cannot be a results root.
        NotReadyError: the library for such a URL is not installed.
    """
    if "://" not in text:
        return path_from(text)
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise UsageError(f"{text[:200]!r} is no results root: {error}; write s3://BUCKET/PREFIX") from error
    if parts.scheme == "file":
        return Path(parts.path)
    if parts.scheme not in SCHEMES:
        raise UsageError(f"a results root is a folder or s3://BUCKET/PREFIX; {parts.scheme}:// is not supported")
    if "@" in parts.netloc:
        raise UsageError("a results root holds no user and password; for S3 they stand in AWS_* or in ~/.aws")
    if not parts.netloc or not parts.path.strip("/"):
        raise UsageError(f"{text} is no results root: write s3://BUCKET/PREFIX")
    try:
        import s3fs  # noqa: F401
    except ImportError as error:
        raise NotReadyError("results on S3 need the package s3fs: pip install 'depth-orchestrator[s3]'") from error
    from orchestrator.object_path import ObjectPath

    # A listing that is remembered would hide what other processes write.
    return cast(Path, ObjectPath(text.rstrip("/"), use_listings_cache=False))


def path_from(text: str) -> Path:
    """The path that a person wrote.

    Raises:
        UsageError: it holds a character that no path has.
    """
    if "\0" in text or text != text.encode(errors="replace").decode():
        raise UsageError(f"{text[:200]!r} is no path: it holds a character that no path has")
    return Path(text)


def is_local(path: Path) -> bool:
    """Whether `path` is in a file system."""
    return isinstance(path, Path)


def tracking_uri(given: str | None = None) -> str | None:
    """Where MLflow keeps its runs: what was `given`, else MLFLOW_TRACKING_URI, else None, for the results folder."""
    return given or os.environ.get("MLFLOW_TRACKING_URI") or None


def cache_folder() -> Path:
    """Where fetched and derived data is kept: `ORCH_CACHE`, else `orch` below `XDG_CACHE_HOME` or `~/.cache`."""
    named = os.environ.get("ORCH_CACHE")
    if named:
        return Path(named)
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "orch"


def local_side(root: Path) -> Path:
    """The folder for what cannot lie on an object store, such as a SQLite file: `root` itself where it is a folder."""
    if is_local(root):
        return root
    return cache_folder() / "roots" / hashlib.sha256(str(root).encode()).hexdigest()[:16]
