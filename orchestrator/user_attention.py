"""A dotted path `package.module:Class` in; the source file of a user's own attention and its hash out.

Nothing of the user's is imported here, so the hash costs no import of torch.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import sys
from pathlib import Path

from orchestrator.errors import TrainingError


def attention_source_hash(dotted: str) -> str:
    """SHA-256, in hex, of the source file that `dotted` names.

    Raises:
        TrainingError: no such module, or a module without Python source.
    """
    return hashlib.sha256(attention_source_path(dotted).read_bytes()).hexdigest()


def attention_source_path(dotted: str) -> Path:
    """The source file of the module in `dotted`, searched in the working directory and then in `sys.path`.

    Raises:
        TrainingError: no such module, or a module without Python source.
    """
    module = dotted.partition(":")[0]
    found = _find(module)
    if found is None:
        raise TrainingError(
            f"the attention {dotted!r} cannot be found: there is no module {module!r} in {Path.cwd()} or on the "
            "Python path; run from the folder that holds it, or install its package"
        )
    if found.origin is None or not found.origin.endswith(".py"):
        raise TrainingError(f"the attention {dotted!r} cannot be hashed: module {module!r} has no Python source file")
    return Path(found.origin)


def import_root(dotted: str) -> Path:
    """The folder that has to be on `sys.path` for the module in `dotted` to be imported.

    Raises:
        TrainingError: no such module, or a module without Python source.
    """
    source = attention_source_path(dotted)
    levels = dotted.partition(":")[0].count(".") + (source.name == "__init__.py")
    return source.parents[levels]


def _find(module: str) -> importlib.machinery.ModuleSpec | None:
    """As importlib.util.find_spec, which would import the parent packages on its way."""
    locations: list[str] | None = [str(Path.cwd()), *sys.path]
    found = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        found = importlib.machinery.PathFinder.find_spec(".".join(parts[:count]), locations)
        if found is None:
            return None
        locations = list(found.submodule_search_locations or [])
    return found
