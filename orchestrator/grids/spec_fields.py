"""What a spec may say about each field of model, data and train: names in; types, limits and descriptions out.

`FIELDS` is read off the dataclasses of `configs.py`, so a field added there is an axis at once, with its checks, its
description and its part of the JSON Schema.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from orchestrator import configs
from orchestrator.catalog import ATTENTIONS, DATASETS, is_dotted_attention

SET_BY_ORCH = frozenset({"attention_source"})
"""Fields of a trial that no spec gives."""

FILLED_FROM_CATALOG = frozenset({"img_size", "num_classes", "in_chans", "test_fraction"})
"""Fields that a named dataset knows."""


@dataclass(frozen=True)
class ValueType:
    """A declared type as a checker: plain YAML values in, values of the type out."""

    hint: Any

    @cached_property
    def schema(self) -> dict[str, Any]:
        """As JSON Schema; draft 7 and later agree on every word of it."""
        content = TypeAdapter(self.hint).json_schema()
        content.pop("default", None)
        return content

    @cached_property
    def allowed(self) -> str:
        """What is allowed, in words."""
        options = self.schema.get("anyOf", [self.schema])
        return " or ".join(_in_words(option) for option in options)

    def convert(self, value: Any) -> Any:
        """`value` as the declared type: a whole float becomes an int where an int is declared.

        Raises:
            ValueError: the value is of another type or outside its limits.
        """
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = self._whole(value)
        if isinstance(value, list):
            value = tuple(value)
        try:
            return self._adapter.validate_python(value, strict=True)
        except ValidationError as error:
            raise ValueError(self.allowed) from error

    def _whole(self, value: float) -> int | float:
        options = self.schema.get("anyOf", [self.schema])
        return int(value) if any(option.get("type") == "integer" for option in options) else value

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.hint, config=ConfigDict(allow_inf_nan=False))


@dataclass(frozen=True)
class Field:
    """One field of model, data or train."""

    name: str
    section: str
    type: ValueType
    is_required: bool
    """Whether a spec must give it; False too for what the catalog fills."""
    is_hashed: bool
    default: Any
    description: str

    @property
    def path(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        own = ", or a class of your own as package.module:Class" if self.takes_own_class else ""
        return ", ".join(self.known_names) + own if self.known_names else self.type.allowed

    @property
    def known_names(self) -> tuple[str, ...]:
        """The names of the catalog, for a field that holds one of them."""
        return {"attention": tuple(ATTENTIONS), "name": tuple(DATASETS)}.get(self.name, ())

    @property
    def takes_own_class(self) -> bool:
        """Whether a class of the user's own may stand in place of a name of the catalog."""
        return self.name == "attention"

    @property
    def kind(self) -> str:
        """What the field's value is called in a message."""
        return {"name": "dataset"}.get(self.name, self.name)

    def convert(self, value: Any) -> Any:
        """`value` as the field's type.

        Raises:
            ValueError: the message says what is allowed.
        """
        value = self.type.convert(value)
        if value == "":
            raise ValueError("text that is not empty")
        is_own = self.takes_own_class and is_dotted_attention(value)
        if self.known_names and value not in self.known_names and not is_own:
            raise ValueError(self.allowed)
        return value


def find_field(written: str) -> Field | None:
    """The field that `depth` or `model.depth` names, or None."""
    section, _, name = written.rpartition(".")
    found = FIELDS.get(name)
    return found if found is not None and section in ("", found.section) else None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when none is alike."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def _in_words(option: Mapping[str, Any]) -> str:
    if "enum" in option or "const" in option:
        return "one of " + ", ".join(str(choice) for choice in option.get("enum", [option.get("const")]))
    kind = option.get("type")
    if kind == "array":
        return f"a list, each {_in_words(option['items'])}"
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _limits_in_words(option)
    return {"boolean": "true or false", "null": "null", "string": "text"}[str(kind)]


def _limits_in_words(option: Mapping[str, Any]) -> str:
    words = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    limits = [f"{sign} {option[key]:g}" for key, sign in words.items() if key in option]
    return " " + " and ".join(limits) if limits else ""


def read_descriptions(cls: type) -> dict[str, str]:
    """The text under each field of a dataclass."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for statement, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
            assert isinstance(statement.target, ast.Name)
            assert isinstance(after.value, ast.Constant)
            found[statement.target.id] = " ".join(str(after.value.value).split())
    return found


def _read_fields() -> dict[str, Field]:
    found = {}
    for section, cls in configs.SECTIONS.items():
        hints, descriptions = typing.get_type_hints(cls, include_extras=True), read_descriptions(cls)
        for f in dataclasses.fields(cls):
            if f.name in SET_BY_ORCH:
                continue
            is_required = f.default is dataclasses.MISSING
            found[f.name] = Field(
                name=f.name,
                section=section,
                type=ValueType(hints[f.name]),
                is_required=is_required and f.name not in FILLED_FROM_CATALOG,
                is_hashed=configs.is_hashed(f),
                default=None if is_required else f.default,
                description=descriptions[f.name],
            )
    return found


FIELDS: Mapping[str, Field] = _read_fields()
