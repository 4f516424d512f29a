from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.errors import UnreachableError
from tests.s3_server import new_root, s3_server


@pytest.fixture(scope="module", autouse=True)
def store() -> Iterator[None]:
    with s3_server():
        yield


def test_it_reads_like_a_path() -> None:
    root = new_root()
    (root / "a" / "x.txt").write_bytes("ü".encode())
    (root / "b" / "y.json").write_bytes(b"1")
    assert (root / "a" / "x.txt").read_text() == "ü"
    assert sorted(path.name for path in root.iterdir()) == ["a", "b"]
    assert [path.parent.name for path in root.glob("*/x.txt")] == ["a"]
    assert (root / "a").is_dir()
    assert not (root / "a" / "x.txt").is_dir()
    assert sorted(path.name for path in root.rglob("*.*")) == ["x.txt", "y.json"]
    assert type(root / "a") is type(root)
    with pytest.raises(FileNotFoundError):
        (root / "c").read_bytes()


def test_what_another_process_wrote_is_seen_at_once() -> None:
    root, same = new_root(), None
    assert list(root.iterdir()) == []
    same = type(root)(str(root))
    (same / "new").write_bytes(b"1")
    assert [path.name for path in root.iterdir()] == ["new"]
    assert (root / "new").exists()


def test_a_refusal_is_no_absence() -> None:
    root = new_root()
    with pytest.raises(UnreachableError, match="cannot reach"), answered_by_a_refusal(root):
        pass


def answered_by_a_refusal(root):
    from contextlib import contextmanager

    from orchestrator.object_path import answered

    @contextmanager
    def refusing():
        with answered(root):
            raise PermissionError("Access Denied")
        yield

    return refusing()
