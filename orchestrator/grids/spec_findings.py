"""Places and values in; problems with the wording every message of a spec shares out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import SpecProblem
from orchestrator.grids.spec_fields import FIELDS, SET_BY_ORCH, Field, ValueType, find_field, nearest
from orchestrator.grids.strict_yaml import Document, YamlPath


@dataclass
class Findings:
    """What is wrong with one document. Reading goes on after a problem, so that one look is enough to mend a file."""

    document: Document
    problems: list[SpecProblem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Fields some value of which could not be read; later checks leave them alone."""
    is_grid_known: bool = True
    """False where a condition or an exclusion could not be read, so that it is not known which cells there are."""

    def report(self, path: YamlPath, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Adds a problem at the value at `path`, or at its key; what is not there is placed by what is around it."""
        while path and path not in self.document.marks:
            path, key = path[:-1], bool(path[:-1])
        mark = self.document.marks[path]
        if key:
            self.problems.append(SpecProblem(message, mark.key_line, mark.key_column, hint))
        else:
            self.problems.append(SpecProblem(message, mark.line, mark.column, hint))

    def describe_key(self, path: YamlPath) -> str:
        """The place of a key, as part of a sentence."""
        mark = self.document.marks[path]
        return f"line {mark.key_line}, column {mark.key_column}"

    def mapping(self, path: YamlPath, value: Any, what: str) -> dict[str, Any]:
        """`value` if it is a mapping; else an empty one, and a problem."""
        if isinstance(value, dict):
            return value
        self.report(path, f"{what} must be a mapping of names to values, not {show(value)}", "write 'name: value'")
        return {}

    def check_keys(self, path: YamlPath, content: Mapping[str, Any], known: Iterable[str], where: str) -> None:
        """Reports every key of `content` that is not among `known`."""
        known = tuple(known)
        for key in content:
            if key not in known:
                self.report((*path, key), f"unknown key {key!r} in {where}", suggest(key, known), key=True)

    def settings(self, path: YamlPath, content: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
        """The values of `content` that `hints` types and allows; a problem for each that is not allowed."""
        found: dict[str, Any] = {}
        for name in [name for name in hints if name in content]:
            kind = ValueType(hints[name])
            try:
                found[name] = kind.convert(content[name])
            except ValueError:
                self.report((*path, name), f"{name} cannot be {_spell(content[name])}", f"allowed: {kind.allowed}")
        return found

    def field(self, path: YamlPath, written: str, *, section: str | None = None) -> Field | None:
        """The field a key names; None, and a problem, where there is none."""
        found = find_field(written)
        if found is None:
            self.report(path, f"unknown field {written!r}", _suggest_field(written, section), key=True)
            self.broken.update(filter(None, [nearest(written.rpartition(".")[2], FIELDS)]))
        return found

    def value(self, path: YamlPath, field: Field, value: Any) -> tuple[Any, ...]:
        """The converted value in a tuple of one; an empty tuple, and a problem, where it is not allowed."""
        try:
            return (field.convert(value),)
        except ValueError as error:
            self.report(path, *_wrong_value(field, value, str(error)))
            self.broken.add(field.name)
            return ()

    def values(self, path: YamlPath, field: Field, value: Any) -> tuple[Any, ...]:
        """A value, or each of a list of them, converted."""
        if not isinstance(value, list):
            return self.value(path, field, value)
        if not value:
            self.report(path, f"the list for {field.name} is empty", "give at least one value")
        return tuple(found for index, item in enumerate(value) for found in self.value((*path, index), field, item))


def show(value: Any) -> str:
    """A value as a message quotes it."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _spell(value: Any) -> str:
    """As `show`, a list with what it holds."""
    return f"[{', '.join(show(item) for item in value)}]" if isinstance(value, list) else show(value)


def suggest(name: str, known: Iterable[str]) -> str:
    """The nearest name, if any is near, and all that are allowed."""
    known = tuple(known)
    near = nearest(name, known)
    return (f"did you mean {near!r}? " if near else "") + f"allowed: {', '.join(known)}"


def _suggest_field(written: str, section: str | None) -> str:
    prefix, _, name = written.rpartition(".")
    if name in SET_BY_ORCH:
        return f"{name} is set by orch; remove it"
    if name in FIELDS:
        return f"did you mean {FIELDS[name].path!r}?"
    known = [field.name for field in FIELDS.values() if section in (None, field.section)]
    near = nearest(name, known) or nearest(name, FIELDS)
    if near is None:
        return f"allowed: {', '.join(known)}" if section else "allowed: any field of model, data or train"
    return f"did you mean {FIELDS[near].path if prefix or near not in known else near!r}?"


def _wrong_value(field: Field, value: Any, allowed: str) -> tuple[str, str]:
    names = field.known_names
    if isinstance(value, str) and names:
        near = nearest(value, names)
        hint = f"did you mean {near!r}? " if near else ""
        return f"unknown {field.kind} {value!r}", f"{hint}allowed: {allowed}"
    if isinstance(value, float) and not math.isfinite(value):
        allowed = allowed.replace("a number", "a finite number")
    hint = f"allowed: {allowed}"
    if isinstance(value, list):
        hint += f"; several values make an axis: move {field.name} under axes:"
    elif isinstance(value, str) and "number" in allowed and "_" in value:
        hint += "; write the digits without underscores"
    elif not isinstance(value, str) and allowed.startswith("text") and value is not None:
        hint += "; put it in quotes"
    return f"{field.name} cannot be {show(value)}", hint
