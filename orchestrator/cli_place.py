"""What a person writes for a sweep, `NAME` or `DIR:NAME`, in; the results root and the name out."""

from __future__ import annotations

import difflib
from pathlib import Path

from orchestrator import durable
from orchestrator.errors import ResultsError, UsageError
from orchestrator.places import is_local, results_root
from orchestrator.results import ResultsDir


def find_sweep(place: str, results: Path) -> tuple[ResultsDir, str]:
    """The root and name that `place` means under `results`.

    Raises:
        UsageError: there is no such sweep; the message names those that are there.
    """
    folder, colon, name = place.rpartition(":")
    root = ResultsDir(results_root(folder) if colon else results)
    check_root(root)
    if not root.sweep(name).trials_file.exists():
        known = root.sweeps()
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}" if known else ""
        raise UsageError(f"there is no sweep {name!r} under {root.root}{hint or '; `orch run SPEC` makes one'}")
    return root, name


def check_root(results: ResultsDir) -> None:
    """A results root that is there must be a folder, or a place on a store that answers.

    Raises:
        ResultsError: it is something else, lies below a file, or does not answer.
    """
    if not is_local(results.root):
        durable.read_bytes(results.root / durable.MANIFEST)
        return
    try:
        place = next(path for path in (results.root, *results.root.absolute().parents) if path.exists())
        is_folder = place.is_dir()
    except OSError as error:  # such as a name that is longer than the system takes
        raise ResultsError(f"{str(results.root)[:200]} cannot be a results folder: {error.strerror}") from error
    if not is_folder:
        raise ResultsError(f"{results.root} cannot be a results folder: {place} is a file")
