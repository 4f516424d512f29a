"""ray_token.py: a token that only its owner reads; what a cluster answers is tested in test_ray_tune_cluster.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import ClusterError
from orchestrator.tuning import ray_token


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a token."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    ray_token.use_token(is_on=True)
    return tmp_path


def test_a_token_is_made_for_its_owner_alone_once(home: Path) -> None:
    before = os.umask(0)
    try:
        ray_token.ensure_token()
    finally:
        os.umask(before)
    path = home / ".ray" / "auth_token"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    token = path.read_text()
    assert len(token) == 64
    ray_token.ensure_token()
    assert path.read_text() == token
    assert [found.name for found in path.parent.iterdir()] == ["auth_token"]


def test_a_token_file_that_others_can_read_is_closed_to_them(home: Path) -> None:
    path = home / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("t" * 64)
    path.chmod(0o644)
    ray_token.ensure_token()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "t" * 64


def test_an_empty_file_is_no_token(home: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("\n")
    ray_token.use_token(is_on=True)
    ray_token.ensure_token()
    assert len((home / ".ray" / "auth_token").read_text()) == 64


def test_a_token_of_the_environment_needs_no_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "t" * 64)
    ray_token.use_token(is_on=True)
    ray_token.ensure_token()
    assert not (home / ".ray").exists()


def test_a_cluster_that_asks_for_a_token_which_is_not_there_is_an_error_with_advice(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_token, "asks_for_token", lambda address: True)
    with pytest.raises(ClusterError, match=r"asks for a token and there is none here; put the token"):
        ray_token.check_secured("10.0.0.1:6379", is_insecure=False)


def test_a_token_that_the_cluster_refuses_is_an_error_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_token, "refuses", lambda address: True)  # asked without the token, and with it
    with pytest.raises(ClusterError, match=r"10\.0\.0\.1:6379 refuses the token shown here; put the token"):
        ray_token.check_secured("10.0.0.1:6379", is_insecure=False)


def test_a_cluster_without_a_token_is_refused_unless_it_is_meant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_token, "asks_for_token", lambda address: False)
    with pytest.raises(ClusterError, match=r"asks for no token, so whoever reaches it runs code .* or pass --insecure"):
        ray_token.check_secured("10.0.0.1:6379", is_insecure=False)
    ray_token.check_secured("10.0.0.1:6379", is_insecure=True)
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    ray_token.use_token(is_on=True)


def test_a_home_that_cannot_be_written_is_an_error_with_advice(home: Path) -> None:
    (home / ".ray").write_text("a file")
    with pytest.raises(ClusterError, match="name a writable one in RAY_AUTH_TOKEN_PATH"):
        ray_token.ensure_token()
