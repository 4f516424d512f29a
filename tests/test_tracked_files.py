"""The project speaks of itself alone: no tracked file names one machine or one place to fetch packages from."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

MACHINE = re.compile(
    r"(?<![\w.])/(?:work|root|tmp/(?!ray/)\w+|opt|Users|home/\w+)/"
    r"|\bpypi\.org|pythonhosted|download\.pytorch"
    r"|(?:index-url|find-links)[ =]+\S*[:/]"
)
"""Where one machine keeps things, or where packages were fetched from."""

MAY_NAME_PATHS = ("tests/test_tracked_files.py", "deploy/")


def machine_words(text: str) -> list[str]:
    return sorted({match.group() for match in MACHINE.finditer(text)})


def test_no_tracked_file_speaks_of_one_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so what is tracked is unknown")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and not name.startswith(MAY_NAME_PATHS):
            content = path.read_bytes()
            words = [] if b"\0" in content else machine_words(content.decode(errors="replace"))
            found.update({name: words} if words else {})
    assert found == {}


@pytest.mark.parametrize(
    "text", ["x = '/root/x'", "see https://" + "pypi.org/simple", "--find-links /srv/wheels", "/home/me/a"]
)
def test_the_guard_against_machine_words_can_fail(text: str) -> None:
    assert machine_words(text) != []
