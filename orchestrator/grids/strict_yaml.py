"""Text in; plain values with the place of each of them out. A small, strict part of YAML.

Scalars follow the core schema of YAML 1.2 (section 10.3.2): `1e-3` is a number, `no` and `12:30` are text, `012` is 12.
There are no tags, anchors, aliases, merge keys or second documents; a key stands once; keys are text; size, depth and
the number of values are bounded, so a hostile file costs no more than an honest one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import events

from orchestrator.errors import SpecError, SpecProblem

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 20_000
TOO_LARGE = SpecProblem(f"the file is larger than {MAX_BYTES:,} bytes", hint="a spec is a page of text")

YamlPath = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")


@dataclass(frozen=True)
class Mark:
    """Where a value stands, and the key before it. Lines and columns count from 1."""

    line: int
    column: int
    key_line: int
    key_column: int


@dataclass(frozen=True)
class Document:
    """A file's content as dicts with text keys, lists, text, numbers, booleans and None."""

    value: Any
    marks: Mapping[YamlPath, Mark]
    """Path of a value, e.g. ("axes", "depth", 2), to its place; the whole document is ()."""
    problems: tuple[SpecProblem, ...] = ()
    """What was refused without losing the place: duplicate keys, tags, anchors, merge keys."""


def parse(text: str, path: str) -> Document:
    """The document in `text`; `path` is what messages call it.

    Raises:
        SpecError: the text is not YAML, or uses what this part of YAML leaves out.
    """
    document = compose(text, path)
    if document.problems:
        raise SpecError(path, list(document.problems), text)
    return document


def compose(text: str, path: str) -> Document:
    """As `parse`, but what can be read past is returned in `problems`, so that a caller can add its own.

    Raises:
        SpecError: the text is not YAML at all, or exceeds a limit.
    """
    text = text.removeprefix("\ufeff")
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise SpecError(path, [TOO_LARGE])
    try:
        return _build(text)
    except _Fatal as error:
        raise SpecError(path, [error.problem], text) from None
    except yaml.MarkedYAMLError as error:
        raise SpecError(path, [_syntax_problem(error)], text) from None
    except yaml.reader.ReaderError as error:
        line, column = _line_and_column(text, error.position)
        problem = SpecProblem(f"character U+{error.character:04X} does not belong in a text file", line, column)
        raise SpecError(path, [problem], text) from None


def _build(text: str) -> Document:
    loader = yaml.SafeLoader(text)
    try:
        return _Builder(_events(loader)).document()
    except (ValueError, OverflowError) as error:  # PyYAML's own, e.g. for the escape \\UFFFFFFFF
        mark = loader.get_mark()
        raise _Fatal(SpecProblem(f"this is not YAML: {error}", mark.line + 1, mark.column + 1)) from error


def _events(loader: yaml.SafeLoader) -> Iterator[events.Event]:
    while loader.check_event():
        yield loader.get_event()  # type: ignore[no-untyped-call]


def resolve_scalar(text: str) -> Any:
    """The value of an unquoted scalar under the YAML 1.2 core schema.

    Raises:
        ValueError: a whole number of more digits than Python converts.
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return text


def dump(value: Any) -> str:
    """`value` as YAML that `parse` reads back as an equal value."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110
    )
    return text


class _Fatal(Exception):
    def __init__(self, problem: SpecProblem) -> None:
        self.problem = problem


@dataclass
class _Builder:
    """Builds values from parser events, one node at a time, so that a limit stops the parser itself."""

    stream: Iterator[events.Event]
    marks: dict[YamlPath, Mark] = field(default_factory=dict)
    problems: list[SpecProblem] = field(default_factory=list)
    num_nodes: int = 0

    def document(self) -> Document:
        next(self.stream)  # the start of the stream
        start = next(self.stream)
        if isinstance(start, events.StreamEndEvent):
            return Document(None, {(): Mark(1, 1, 1, 1)})
        value = self.node(next(self.stream), (), None)
        next(self.stream)  # the end of the document
        after = next(self.stream)
        if not isinstance(after, events.StreamEndEvent):
            raise _Fatal(self.problem(after, "a second document begins here", "a spec is one document; remove '---'"))
        return Document(value, self.marks, tuple(self.problems))

    def node(self, event: events.Event, path: YamlPath, key: events.Event | None) -> Any:
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES:
            raise _Fatal(self.problem(event, f"more than {MAX_NODES:,} values", "a spec is a page of text"))
        if len(path) > MAX_DEPTH:
            raise _Fatal(self.problem(event, f"nested more than {MAX_DEPTH} levels deep", None))
        self.marks[path] = Mark(*_place(event), *_place(key or event))
        if isinstance(event, events.AliasEvent):
            self.refuse(event, f"alias *{event.anchor}", "write the value out; aliases are not supported")
            return None
        if isinstance(event, events.ScalarEvent):
            return self.scalar(event)
        assert isinstance(event, events.CollectionStartEvent)
        self.check_properties(event)
        return self.mapping(path) if isinstance(event, events.MappingStartEvent) else self.sequence(path)

    def check_properties(self, event: events.ScalarEvent | events.CollectionStartEvent) -> None:
        if event.tag is not None:
            self.refuse(event, f"tag {event.tag}", "tags are not supported; write the plain value")
        if event.anchor is not None:
            self.refuse(event, f"anchor &{event.anchor}", "anchors are not supported; write the value where it is used")

    def mapping(self, path: YamlPath) -> dict[str, Any]:
        content: dict[str, Any] = {}
        places: dict[str, events.Event] = {}
        while not isinstance(event := next(self.stream), events.MappingEndEvent):
            key = self.key(event)
            if key in places:
                line, column = _place(places[key])
                where = f"it already stands in line {line}, column {column}"
                self.refuse(event, f"duplicate key {key!r}", f"{where}; keep one of the two")
                self.skip(next(self.stream), (*path, key))
                continue
            places[key] = event
            content[key] = self.node(next(self.stream), (*path, key), event)
        return content

    def skip(self, event: events.Event, path: YamlPath) -> None:
        """Read past a node; it counts against the limits, and its places and problems are forgotten."""
        other = _Builder(self.stream, num_nodes=self.num_nodes)
        other.node(event, path, None)
        self.num_nodes = other.num_nodes

    def key(self, event: events.Event) -> str:
        if not isinstance(event, events.ScalarEvent):
            raise _Fatal(self.problem(event, "a key must be a single word", "write 'key: value'"))
        self.check_properties(event)
        key: str = event.value
        if key == "<<" and event.style is None:
            self.refuse(event, "merge key <<", "merge keys are not supported; write the keys out")
        return key

    def sequence(self, path: YamlPath) -> list[Any]:
        content: list[Any] = []
        while not isinstance(event := next(self.stream), events.SequenceEndEvent):
            content.append(self.node(event, (*path, len(content)), None))
        return content

    def scalar(self, event: events.ScalarEvent) -> Any:
        self.check_properties(event)
        if event.style is not None:
            return event.value
        try:
            return resolve_scalar(event.value)
        except ValueError:
            raise _Fatal(self.problem(event, f"a number of {len(event.value)} digits is too long", None)) from None

    def refuse(self, event: events.Event, message: str, hint: str) -> None:
        self.problems.append(self.problem(event, message, hint))

    def problem(self, event: events.Event, message: str, hint: str | None) -> SpecProblem:
        return SpecProblem(message, *_place(event), hint)


def _place(event: events.Event) -> tuple[int, int]:
    """Line and column, from 1."""
    mark = event.start_mark
    assert mark is not None  # events of text that was parsed have one
    return mark.line + 1, mark.column + 1


def _syntax_problem(error: yaml.MarkedYAMLError) -> SpecProblem:
    mark = error.problem_mark or error.context_mark
    message = f"this is not YAML: {error.problem or error.context}"
    if error.context and error.problem and error.context_mark is not None:
        message += f" ({error.context} that starts in line {error.context_mark.line + 1})"
    hint = None
    if "'\\t'" in message:
        hint = "indent with spaces; YAML allows no tabs there"
    if mark is None:
        return SpecProblem(message, hint=hint)
    return SpecProblem(message, mark.line + 1, mark.column + 1, hint)


def _line_and_column(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the text that the core schema would read as something else."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # PyYAML declares it for instances

    def ignore_aliases(self, data: Any) -> bool:  # the name is PyYAML's
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Rare line breaks survive in double quotes only."""
    style = '"' if any(character in text for character in "\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _register(tag: str, pattern: re.Pattern[str], first: str | None) -> None:
    anchored = re.compile(rf"(?:{pattern.pattern})\Z")
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", anchored, list(first) if first else None)


_register("null", _NULL, None)
_register("bool", _BOOL, "tTfF")
_register("int", _INT, "-+0123456789")
_register("float", re.compile(f"{_FLOAT.pattern}|{_INFINITE.pattern}"), "-+.0123456789")
_register("merge", re.compile("<<"), "<")
