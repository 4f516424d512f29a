"""How deep can a vision transformer usefully be? Declare a grid, train it, read the answer.

`read_table`, `read_epochs` and `read_blocks` take a results root and a sweep's name and give a tidy pandas frame.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

READERS = {
    "read_table": ("views.table", "read_table"),
    "read_epochs": ("views.table", "read_epochs"),
    "read_blocks": ("views.probe_rows", "read_probes"),
}
"""What stands here for users, and where it is defined; imported when it is first asked for, so that nothing heavy
comes along with `import orchestrator`, and no file of the package takes it from here.
"""

__all__ = ["__version__", "read_blocks", "read_epochs", "read_table"]


def __getattr__(name: str) -> Any:
    if name not in READERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, function = READERS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)


def __dir__() -> list[str]:
    return sorted([*globals(), *READERS])
