"""The arrays of one probed moment in; a file a moment under the trial's folder, and all of them stacked, out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator import durable
from orchestrator.npz_files import npz_bytes, read_npz
from orchestrator.probe_catalog import PROBES

Array = NDArray[np.float64]

log = logging.getLogger(__name__)


class ProbeStore:
    """The probed moments of one trial while it is trained, `<epoch>.npz` each."""

    def __init__(self, folder: Path, check: Callable[[], None] = lambda: None) -> None:
        """`check` is called before each write and raises where somebody else works on the trial now."""
        self.folder, self._check = folder, check
        self.known: set[int] = set()

    def has(self, epoch: int) -> bool:
        """Whether the moment was probed and can be read; it is read the first time only."""
        if epoch not in self.known and self._load(self._path(epoch)) is not None:
            self.known.add(epoch)
        return epoch in self.known

    def save(self, epoch: int, arrays: Mapping[str, Array]) -> None:
        """Commit one moment.

        Raises:
            ResultsError: the folder cannot be written.
        """
        self._check()
        durable.write_bytes(self._path(epoch), npz_bytes(arrays))
        self.known.add(epoch)

    def moments(self) -> list[dict[str, Array]]:
        """Every moment that can be read, by epoch."""
        paths = [path for path in self.folder.glob("*.npz") if path.stem.isdecimal()]
        found = [self._load(path) for path in sorted(paths, key=lambda path: int(path.stem))]
        return [arrays for arrays in found if arrays is not None]

    def remove(self) -> None:
        """Remove the folder, once its moments are stacked."""
        durable.remove_folder(self.folder)

    def _path(self, epoch: int) -> Path:
        return self.folder / f"{epoch}.npz"

    def _load(self, path: Path) -> dict[str, Array] | None:
        try:
            arrays = read_npz(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.warning("%s is damaged, its moment counts as not probed: %s", path, error)
            return None
        if arrays.keys() != PROBES.keys():
            log.warning("%s holds other arrays than this version measures; its moment counts as not probed", path)
            return None
        return arrays


def stack_moments(moments: list[dict[str, Array]]) -> dict[str, Array]:
    """The arrays of `probes.npz`, [E,...], from those of its moments in order."""
    return {name: np.stack([arrays[name] for arrays in moments]) for name in PROBES}
