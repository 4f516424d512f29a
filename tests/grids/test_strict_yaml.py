"""strict_yaml.py: scalars of YAML 1.2, what is refused, places, limits, and the way back."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.grids.strict_yaml import MAX_DEPTH, MAX_NODES, Mark, dump, parse

text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))


def value_of(source: str) -> Any:
    return parse(source, "f.yaml").value


def messages(source: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(source, "f.yaml")
    return [f"{p.line}:{p.column}: {p.message}" for p in caught.value.problems]


@given(values)
@example({"\x85": None, "\u2028a": "b\u2029", "\n": "\n "})
def test_what_is_dumped_is_read_back_with_the_same_types(value: Any) -> None:
    assert repr(value_of(dump(value))) == repr(value)


@given(st.text())
def test_any_text_is_a_document_or_a_spec_error(source: str) -> None:
    try:
        parse(source, "f.yaml")
    except SpecError as error:
        assert error.problems  # noqa: PT017  # either outcome is legal


@given(st.text(alphabet="ab:-[]{}&*!<>|'\"#%?,\n \t@`\\", max_size=60))
def test_any_mix_of_yaml_signs_is_a_document_or_a_spec_error(source: str) -> None:
    try:
        parse(source, "f.yaml")
    except SpecError as error:
        assert error.problems  # noqa: PT017  # either outcome is legal


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12", 12),
        ("012", 12),
        ("+3", 3),
        ("-0", 0),
        ("0o14", 12),
        ("0x1F", 31),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1.5E+3", -1500.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("0b11", "0b11"),
        ("1e", "1e"),
        ("'12'", "12"),
        ('"1e-3"', "1e-3"),
        ("=", "="),
        ("trUe", "trUe"),
    ],
)
def test_plain_scalars_follow_the_core_schema(written: str, value: Any) -> None:
    found = value_of(f"key: {written}\n")["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read_as_such() -> None:
    assert math.isnan(value_of("key: .nan")["key"])


def test_keys_are_text() -> None:
    assert value_of("12: a\nno: b\n~: c\n") == {"12": "a", "no": "b", "~": "c"}


def test_marks_tell_the_place_of_every_key_and_value() -> None:
    marks = parse("axes:\n  depth: [12, 16]\n  embed_dim:\n  - 48\n", "f.yaml").marks
    assert marks["axes", "depth"] == Mark(line=2, column=10, key_line=2, key_column=3)
    assert marks["axes", "depth", 1] == Mark(line=2, column=15, key_line=2, key_column=15)
    assert marks["axes", "embed_dim", 0] == Mark(line=4, column=5, key_line=4, key_column=5)


def test_a_byte_order_mark_moves_no_column() -> None:
    assert parse("\ufeffa: 1", "f.yaml").marks["a",] == Mark(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ["3:1: duplicate key 'a'"]),
        ("a: !!int 3", ["1:4: tag tag:yaml.org,2002:int"]),
        ("a: !!python/object/apply:os.system [ls]", ["1:4: tag tag:yaml.org,2002:python/object/apply:os.system"]),
        ("a: &x 1\nb: *x", ["1:4: anchor &x", "2:4: alias *x"]),
        ("a: &x [*x]", ["1:4: anchor &x", "1:8: alias *x"]),
        ("<<: {a: 1}", ["1:1: merge key <<"]),
        ("a: 1\n---\nb: 2", ["2:1: a second document begins here"]),
        ("? [a, b]\n: c", ["1:3: a key must be a single word"]),
        ("a: [1, 2", ["1:9: this is not YAML: expected ',' or ']', but got '<stream end>'"]),
        ("a:\n\t- b", ["2:1: this is not YAML: found character '\\t' that cannot start any token"]),
        ("a: \x07", ["1:4: character U+0007 does not belong in a text file"]),
        ('a: "\\UFFFFFFFF"', ["1:7: this is not YAML: "]),
    ],
)
def test_what_is_left_out_is_refused_with_its_place(source: str, expected: list[str]) -> None:
    found = messages(source)
    assert len(found) == len(expected)
    assert all(message.startswith(beginning) for message, beginning in zip(found, expected, strict=True))


def test_a_quoted_merge_key_is_a_key_like_any_other() -> None:
    assert value_of("'<<': 1") == {"<<": 1}


def test_both_places_of_a_duplicate_key_are_named() -> None:
    with pytest.raises(SpecError) as caught:
        parse("model: {depth: 1,\n  depth: 2}", "f.yaml")
    assert str(caught.value) == (
        "f.yaml:2:3: duplicate key 'depth'\n"
        "      depth: 2}\n"
        "      ^\n"
        "    it already stands in line 1, column 9; keep one of the two"
    )


def test_depth_and_number_of_values_are_bounded() -> None:
    value_of("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert "nested more than" in messages("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2))[0]
    assert "more than 20,000 values" in messages("- a\n" * MAX_NODES)[0]


def test_a_file_that_is_too_large_is_refused_unread() -> None:
    assert messages("#" * 1_000_001) == ["None:None: the file is larger than 1,000,000 bytes"]


def merge_key_bomb() -> str:
    """Doubles with every line under a loader that merges: 2**26 keys."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 27)]
    return "\n".join(lines)


def test_a_merge_key_bomb_is_refused_at_once() -> None:
    start = time.process_time()
    found = messages(merge_key_bomb())
    assert time.process_time() - start < 1
    assert "1:5: anchor &a0" in found


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 27))]
    start = time.process_time()
    assert "2:10: alias *a0" in messages("\n".join(lines))
    assert time.process_time() - start < 1
