"""A place on an object store, with the methods of a `Path` that reading needs; imported only where a root is a URL.

An object is read by one GET, so it is seen as one write left it, though another replaces it meanwhile. Whatever keeps
the store from answering is an `UnreachableError`; what is not there is a `FileNotFoundError`, as on a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from upath.implementations.cloud import S3Path
from upath.registry import register_implementation

from orchestrator.errors import UnreachableError


class ObjectPath(S3Path):
    """`s3://BUCKET/KEY`; can be sent to another process, which reaches the store by its own configuration."""

    def read_bytes(self) -> bytes:
        with answered(self):
            content: bytes = self.fs.cat_file(self.path)
        return content

    def read_text(self, encoding: str | None = None, errors: str | None = None, newline: str | None = None) -> str:
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")

    def exists(self, **options: Any) -> bool:
        with answered(self):
            return bool(super().exists(**options))

    def is_dir(self, **options: Any) -> bool:
        with answered(self):
            return bool(super().is_dir(**options))

    def iterdir(self) -> Iterator[Self]:
        """What lies directly below; nothing where nothing does, because a store has no empty folders."""
        try:
            with answered(self):
                return iter(list(super().iterdir()))
        except (FileNotFoundError, NotADirectoryError):
            return iter(())

    def glob(self, pattern: str, **options: Any) -> Iterator[Self]:
        with answered(self):
            return iter(list(super().glob(pattern, **options)))

    def rglob(self, pattern: str, **options: Any) -> Iterator[Self]:
        with answered(self):
            return iter(list(super().rglob(pattern, **options)))


register_implementation("s3", ObjectPath, clobber=True)


@contextmanager
def answered(path: object) -> Iterator[None]:
    """What keeps a store from answering becomes an error for people.

    Raises:
        UnreachableError: in place of what the store's library raises.
    """
    try:
        yield
    except (BotoCoreError, ClientError, PermissionError, ConnectionError, TimeoutError) as error:
        raise UnreachableError(f"cannot reach {path}: {error}") from error
