from __future__ import annotations

import subprocess
from pathlib import Path

from orchestrator import provenance


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c", *words], check=True)


def test_git_state_tells_the_commit_and_whether_tracked_files_differ(tmp_path: Path) -> None:
    assert provenance.git_state(tmp_path) == (None, None)
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "one")
    commit, is_dirty = provenance.git_state(tmp_path)
    assert commit is not None
    assert (len(commit), is_dirty) == (40, False)
    (tmp_path / "a").write_text("2")
    assert provenance.git_state(tmp_path) == (commit, True)


def test_the_code_fingerprint_follows_sources_and_versions(tmp_path: Path, monkeypatch) -> None:
    for room in provenance.FINGERPRINTED_ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))

    def fingerprint() -> str:
        provenance.code_fingerprint.cache_clear()
        return provenance.code_fingerprint()

    try:
        before = fingerprint()
        assert fingerprint() == before
        (tmp_path / "models" / "a.py").write_text("x = 2\n")
        after_edit = fingerprint()
        monkeypatch.setattr(provenance, "versions", lambda: {"torch": "0"})
        assert len({before, after_edit, fingerprint()}) == 3
    finally:
        provenance.code_fingerprint.cache_clear()


def test_the_command_line_keeps_no_secret() -> None:
    line = provenance.command_line(["/usr/bin/orch", "run", "a b.yaml", "--token=hunter2"])
    assert line.startswith("orch run 'a b.yaml'")
    assert "hunter2" not in line
