"""Content and a checksum of it in one document or line: sealed, and verified when it is read. Opens no file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import ResultsError

LINE_DIGITS = 16


def unseal_json(path: Path, text: bytes) -> dict[str, Any]:
    """The content of a sealed document that was read from `path`.

    Raises:
        ResultsError: it is cut short or altered; the message names `path`.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ResultsError(f"{path} is damaged: it is not complete JSON") from error
    if not isinstance(content, dict) or content.pop("sha256", None) != _checksum_of(content):
        raise ResultsError(f"{path} is damaged: its checksum does not match its content")
    return content


def seal_line(content: Mapping[str, Any]) -> str:
    """One line of JSON with a checksum of the content; `unseal_line` verifies it."""
    return json.dumps({**content, "sha256": _checksum_of(content)[:LINE_DIGITS]}, allow_nan=False)


def unseal_line(line: str) -> dict[str, Any]:
    """What `seal_line` was given; a line without a checksum, as an earlier version wrote it, is taken as it is.

    Raises:
        ValueError: the line is cut short or altered.
    """
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("it holds no JSON object")
    sealed = content.pop("sha256", None)
    if sealed is not None and sealed != _checksum_of(content)[:LINE_DIGITS]:
        raise ValueError("its checksum does not match its content")
    return content


def sha256(content: bytes) -> str:
    """64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its checksum; `unseal_json` verifies it."""
    return {**content, "sha256": _checksum_of(content)}


def _checksum_of(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode())
