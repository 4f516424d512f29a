"""The audit of locked versions: a known hole fails, an accepted one does not, and silence is no answer."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from types import ModuleType
from typing import Any

import pytest

from tests.markdown_pages import ROOT

HOLE = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1234"], "fix_versions": ["2.0"], "description": ""}


@pytest.fixture
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(monkeypatch: pytest.MonkeyPatch, packages: list[dict[str, Any]] | None) -> list[list[str]]:
    """pip-audit finds this, None for a service that does not answer; returns what it is asked."""
    asked: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        text = "connection refused" if packages is None else json.dumps({"dependencies": packages})
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_every_locked_version_is_asked_for(audit: ModuleType) -> None:
    assert len(audit.locked()) > 100
    assert [line for line in audit.locked() if line.startswith("click==")]


def test_a_known_hole_fails_and_is_named(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, [{"name": "click", "version": "1.0", "vulns": [HOLE]}])
    assert audit.main() == 1
    assert "click 1.0: PYSEC-2026-1, mended in ['2.0']" in capsys.readouterr().out


def test_an_accepted_hole_passes(audit: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_accepted_text", lambda: "| click | CVE-2026-1234 | not reached |")
    answer(monkeypatch, [{"name": "click", "version": "1.0", "vulns": [HOLE]}])
    assert audit.main() == 0


@pytest.mark.parametrize("packages", [None, [{"name": "click", "skip_reason": "Dependency not found"}]])
def test_a_service_that_knows_nothing_is_told_and_is_no_clean_bill(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    packages: list[dict[str, Any]] | None,
) -> None:
    asked = answer(monkeypatch, packages)
    assert audit.main() == 0
    assert "cannot be reached" in capsys.readouterr().out
    assert len(asked) == len(audit.SERVICES), "one package a service, not all of them"
