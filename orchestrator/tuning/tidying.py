"""A finished trial's folder in, without what a process that died right behind its record left there out."""

from __future__ import annotations

from orchestrator import durable
from orchestrator.results import FINAL, TrialFolder


def tidy_finished(folder: TrialFolder) -> None:
    """Remove all checkpoints but the final weights, the probed moments that are stacked by now, and temporary files.

    Raises:
        ResultsError: something cannot be removed.
    """
    if folder.checkpoints.is_dir():
        for path in list(folder.checkpoints.iterdir()):
            if path.name != FINAL:
                durable.remove_folder(path)
    durable.remove_folder(folder.probes)
    for place in (folder.path, folder.attempts):
        durable.remove_leftovers(place)
