"""One line of `orch doctor`: what was looked at, what was found, and whether something has to be done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Grade(StrEnum):
    OK = "ok"
    NOTE = "note"
    """Works, and a person should know."""
    MEND = "MEND"
    """Something will not work, or is open to others, until it is mended."""


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    grade: Grade
    found: str
    advice: str = ""
    """What to do, for a grade other than OK."""

    def to_json(self) -> dict[str, Any]:
        content = {"name": self.name, "grade": self.grade, "found": self.found, "advice": self.advice}
        return {**content, "is_ok": self.grade is not Grade.MEND}


def ok(name: str, found: str) -> Check:
    return Check(name=name, grade=Grade.OK, found=found)


def note(name: str, found: str, advice: str) -> Check:
    return Check(name=name, grade=Grade.NOTE, found=found, advice=advice)


def mend(name: str, found: str, advice: str) -> Check:
    return Check(name=name, grade=Grade.MEND, found=found, advice=advice)
