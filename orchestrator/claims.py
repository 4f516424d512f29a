"""A folder of numbered claims in; the claims in it out. Who may make one, and how long it holds, says `lease.py`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from orchestrator import durable
from orchestrator.errors import ResultsError
from orchestrator.record import SCHEMA, Claim

C = TypeVar("C", bound=Claim)


def newest(folder: Path, kind: type[C]) -> C | None:
    """The claim that counts, None without a readable one."""
    number = newest_number(folder)
    return read_claim(folder, number, kind) if number else None


def read_claim(folder: Path, number: int, kind: type[C]) -> C | None:
    """One claim, None where it is not there or damaged."""
    path = claim_file(folder, number)
    content = durable.read_bytes(path)
    return None if content is None else parse_bytes(path, content, kind)


def read_claims(folder: Path, kind: type[C]) -> list[C]:
    """Claims in order; a damaged one is left out.

    Raises:
        NewerFileError: a newer version wrote one.
    """
    found = []
    for number in range(1, newest_number(folder) + 1):
        try:
            found.append(parse_claim(durable.read_document(claim_file(folder, number), SCHEMA), kind))
        except (ResultsError, TypeError):
            continue
    return found


def newest_number(folder: Path) -> int:
    """The highest number in `folder`, 0 without one.

    Raises:
        ResultsError: the folder cannot be read.
    """
    numbers = (path.stem for path in folder.glob("*.json"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def claim_file(folder: Path, number: int) -> Path:
    return folder / f"{number}.json"


def parse_claim(content: dict[str, Any], kind: type[C]) -> C:
    """The claim that a document describes; fields that a later version added are left out.

    Raises:
        TypeError: a field is missing.
    """
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in content.items() if name in names})


def parse_bytes(path: Path, content: bytes, kind: type[C]) -> C | None:
    """The claim in the bytes of a file, None where they are damaged."""
    try:
        return parse_claim(durable.unseal_json(path, content), kind)
    except (ResultsError, TypeError):
        return None
