"""Python imports this file by its name wherever its folder is on the path, in Ray's workers too: each write that the
plan names tears once, and the process that wrote is gone.

`ORCH_CRASH_PLAN` is a folder with `plan.json`, a list of [call, end of the path that is written, "before" or "after"].
An entry that has fired leaves a file named by its place in the list.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

CRASHED = 77


def _due(folder: Path, plan: list[list[str]], call: str, path: str, moment: str) -> bool:
    """Whether an entry fires now; of several processes one gets it."""
    for number, (planned, end, when) in enumerate(plan):
        if (planned, when) == (call, moment) and path.endswith(end):
            try:
                (folder / str(number)).touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
    return False


def _tear(path: Path) -> None:
    for file in [path] if path.is_file() else sorted(path.iterdir())[:1]:
        os.truncate(file, file.stat().st_size // 2)


def _named(call: str, folder: Path, plan: list[list[str]]) -> None:
    """`call` gives a finished file the name that counts."""
    inner: Callable[..., Any] = getattr(os, call)

    def crashing(source: Any, target: Any, *words: Any, **options: Any) -> Any:
        if _due(folder, plan, call, str(target), "before"):
            _tear(Path(source))
            os._exit(CRASHED)
        answer = inner(source, target, *words, **options)
        if _due(folder, plan, call, str(target), "after"):
            os._exit(CRASHED)
        return answer

    setattr(os, call, crashing)


def _appended(folder: Path, plan: list[list[str]]) -> None:
    """A line is in its file, and on the disk after the flush."""
    inner = os.fsync

    def crashing(descriptor: Any) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if _due(folder, plan, "fsync", path, "before"):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - 7)
            os._exit(CRASHED)
        inner(descriptor)
        if _due(folder, plan, "fsync", path, "after"):
            os._exit(CRASHED)

    os.fsync = crashing


if "ORCH_CRASH_PLAN" in os.environ:
    _place = Path(os.environ["ORCH_CRASH_PLAN"])
    _plan = json.loads((_place / "plan.json").read_text())
    for _call in ("replace", "link", "rename"):
        _named(_call, _place, _plan)
    _appended(_place, _plan)
