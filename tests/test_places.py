from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from orchestrator.errors import NotReadyError, UsageError
from orchestrator.places import cache_folder, is_local, local_side, results_root, tracking_uri


def test_a_folder_is_a_path() -> None:
    assert results_root("results") == Path("results")
    assert results_root("file:///data/results") == Path("/data/results")
    assert is_local(results_root("a b/ü"))


def test_a_place_on_a_store_has_the_methods_of_a_path_and_can_be_sent_to_a_worker() -> None:
    root = results_root("s3://bucket/a/b/")
    assert not is_local(root)
    assert str(root / "trials" / "x") == "s3://bucket/a/b/trials/x"
    assert pickle.loads(pickle.dumps(root)) == root


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gs://bucket/a", "gs:// is not supported"),
        ("https://host/a", "https:// is not supported"),
        ("s3://bucket", "write s3://BUCKET/PREFIX"),
        ("s3:///a", "write s3://BUCKET/PREFIX"),
    ],
)
def test_other_places_are_refused_with_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        results_root(text)


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="no user and password") as refused:
        results_root("s3://me:hunter2@bucket/a")
    assert "hunter2" not in str(refused.value)


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(NotReadyError, match="pip install"):
        results_root("s3://bucket/a")


def test_what_cannot_lie_on_a_store_lies_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path))
    assert local_side(Path("results")) == Path("results")
    one, two = (local_side(results_root(f"s3://bucket/{name}")) for name in "ab")
    assert one != two
    assert {one.parent, two.parent} == {tmp_path / "roots"}
    assert local_side(results_root("s3://bucket/a/")) == one


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    monkeypatch.delenv("ORCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "shared/orch"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home/.cache/orch"


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        (None, None, None),
        ("", "", None),
        (None, "http://a", "http://a"),
        ("http://b", "http://a", "http://b"),
        ("", "http://a", "http://a"),
    ],
)
def test_mlflow_keeps_its_runs_where_it_is_told_last(
    given: str | None, variable: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if variable is not None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert tracking_uri(given) == expected
