"""What `durable` promises holds on an object store too, where there is no rename and no append."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import durable, object_files
from orchestrator.errors import ResultsError, UnreachableError
from tests.s3_server import new_root, s3_server


@pytest.fixture(scope="module", autouse=True)
def store() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture
def root() -> Path:
    return new_root()


def test_documents_read_back_and_damage_is_named(root: Path) -> None:
    path = root / "a" / "record.json"
    assert durable.read_bytes(path) is None
    with pytest.raises(ResultsError, match="cannot read"):
        durable.read_sealed_json(path)
    durable.write_sealed_json(path, {"x": 1})
    assert durable.read_sealed_json(path) == {"x": 1}
    durable.write_bytes(path, path.read_bytes().replace(b"1", b"2", 1))
    with pytest.raises(ResultsError, match=r"record\.json is damaged"):
        durable.read_sealed_json(path)
    durable.remove_file(path)
    durable.remove_file(path)
    assert not path.exists()


def test_a_name_that_is_taken_is_left_as_it_is(root: Path) -> None:
    assert durable.create_sealed_json(root / "1.json", {"owner": "first"})
    assert not durable.create_sealed_json(root / "1.json", {"owner": "second"})
    assert durable.read_sealed_json(root / "1.json") == {"owner": "first"}


def test_lines_are_appended_by_writing_the_whole(root: Path) -> None:
    durable.append_line(root / "metrics.jsonl", "one")
    durable.append_line(root / "metrics.jsonl", "two")
    assert (root / "metrics.jsonl").read_text() == "one\ntwo\n"


def test_a_folder_is_committed_by_its_manifest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "c"
    durable.commit_folder(folder, {"a": b"1", "b": b"2"})
    durable.commit_folder(folder, {"a": b"3"})
    assert durable.read_folder(folder) == {"a": b"3"}
    assert sorted(path.name for path in folder.iterdir()) == ["MANIFEST.json", "a"]

    def put_until_manifest(path: Path, content: bytes, put: Any = object_files._put) -> None:
        if path.name == durable.MANIFEST:
            raise KeyboardInterrupt
        put(path, content)

    monkeypatch.setattr(object_files, "_put", put_until_manifest)
    with pytest.raises(KeyboardInterrupt):
        durable.commit_folder(folder, {"a": b"4"})
    assert not durable.is_committed(folder)
    with pytest.raises(ResultsError, match="is damaged"):
        durable.read_folder(folder)


def test_a_removed_folder_is_uncommitted_first_and_then_gone(root: Path) -> None:
    durable.commit_folder(root / "c", {"a": b"1"})
    durable.remove_folder(root / "c")
    durable.remove_folder(root / "c")
    assert not (root / "c").exists()
    assert list(root.iterdir()) == []


def test_a_store_that_does_not_answer_is_told_and_not_taken_for_an_empty_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(type(root).mro()[1], "_fs_factory", classmethod(_fresh_system))
    far = new_root()
    for ask in (
        lambda: durable.read_bytes(far / "a"),
        lambda: durable.write_bytes(far / "a", b""),
        (far / "a").exists,
        lambda: list(far.iterdir()),
    ):
        with pytest.raises(UnreachableError, match="cannot reach s3://"):
            ask()


def _fresh_system(cls: type, urlpath: str, protocol: str, storage_options: Any) -> Any:
    """A client that is not remembered from the server of before, and gives up soon."""
    import s3fs

    return s3fs.S3FileSystem(skip_instance_cache=True, config_kwargs={"retries": {"max_attempts": 1}})
