"""A driver's code in; what a cluster's workers need to run the same code, as Ray's runtime environment, out.

The package always travels. Modules of the folder that the command runs in travel where they are few and small, because
an attention of one's own may lie there; folders that hold no source of one's own stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orchestrator

MAX_FILES = 1000
MAX_BYTES = 10 * 2**20
NEVER_SHIPPED = {"__pycache__", "node_modules", "results", "site-packages"}


def runtime_environment(folder: Path, staging: Path) -> dict[str, Any]:
    """What `ray.init` is told.

    Args:
        folder: where the command runs.
        staging: an empty folder that lives as long as the run.
    """
    package = Path(orchestrator.__file__).parent
    found: dict[str, Any] = {"py_modules": [str(package)], "excludes": ["**/__pycache__/**", "*.pyc"]}
    modules = list(own_modules(folder, package))
    if 0 < len(modules) <= MAX_FILES and sum(path.stat().st_size for path in modules) <= MAX_BYTES:
        for path in modules:
            copy = staging / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        found["working_dir"] = str(staging)
    return found


def own_modules(folder: Path, package: Path) -> Iterator[Path]:
    """Python files below `folder`; at most one more than are shipped."""
    count = 0
    folders = [folder]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_dir() and not path.is_symlink() and _is_source(path) and path.resolve() != package.resolve():
                folders.append(path)
            elif path.suffix == ".py" and path.is_file():
                yield path
                count += 1
            if count > MAX_FILES:
                return


def _is_source(path: Path) -> bool:
    is_environment = (path / "pyvenv.cfg").exists()
    is_results = (path / "trials").is_dir() and (path / "sweeps").is_dir()
    return path.name not in NEVER_SHIPPED and not path.name.startswith(".") and not is_environment and not is_results
