"""Known holes in the locked versions; where nothing can be asked, one line that says so.

Exit code 1 where a locked version has a known hole that docs/security.md does not accept, else 0. pip-audit itself
also ends with 0 where its service knows none of the packages, which is why its answer is read and not its exit code.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
ACCEPTED = ROOT / "docs" / "security.md"
"""Its table of accepted holes names each by its id."""
SERVICES = ("pypi", "osv")
ASKED_FIRST = "click"
"""One package shows whether a service answers, in seconds where asking for all would take minutes to fail."""
SECONDS_TO_ASK_ONE, SECONDS_TO_ASK_ALL = 30, 600


def locked() -> list[str]:
    """`name==version` of every package, markers left out."""
    return re.findall(r"^([\w.-]+==[^\s;\\]+)", LOCK.read_text(), re.MULTILINE)


def ask(service: str, requirements: Sequence[str], timeout_s: float) -> list[dict[str, Any]]:
    """What the service knows of each package; empty where it does not answer or knows none of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(requirements))
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "-r", file.name, "--no-deps", "--disable-pip", "-f", "json"]
        command += ["--vulnerability-service", service, "--progress-spinner", "off", "--timeout", "10"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
            packages = json.loads(done.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):
            return []
    return [package for package in packages if "skip_reason" not in package]


def holes_in(packages: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each known hole that is not accepted."""
    accepted = set(re.findall(r"\b(?:CVE-\d+-\d+|GHSA(?:-\w{4}){3}|PYSEC-\d+-\d+)\b", _accepted_text()))
    return [
        f"{package['name']} {package['version']}: {hole['id']}, mended in {hole['fix_versions'] or 'no version'}"
        for package in packages
        for hole in package["vulns"]
        if not accepted.intersection([hole["id"], *hole.get("aliases", [])])
    ]


def _accepted_text() -> str:
    return ACCEPTED.read_text().partition("\n## Accepted holes\n")[2].partition("\n## ")[0]


def main() -> int:
    requirements = locked()
    first = [requirement for requirement in requirements if requirement.startswith(f"{ASKED_FIRST}==")]
    for service in SERVICES:
        if not ask(service, first, SECONDS_TO_ASK_ONE):
            continue
        packages = ask(service, requirements, SECONDS_TO_ASK_ALL)
        holes = holes_in(packages)
        print(f"pip-audit: {len(packages)} of {len(requirements)} locked versions known, {len(holes)} holes")
        print("".join(f"  {hole}\n" for hole in holes), end="")
        return 1 if holes else 0
    print("pip-audit: its data cannot be reached from here, so no locked version was checked for known holes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
