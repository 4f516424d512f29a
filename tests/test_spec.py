"""spec.py: files in, and YAML back out."""

from __future__ import annotations

import dataclasses
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.grids.starter import starter_spec
from orchestrator.spec import SweepSpec, dump_spec, load_spec, loads_spec
from tests.grids.spec_strategies import contents, load


@settings(max_examples=50)
@given(contents())
def test_a_spec_written_as_yaml_reads_back_as_itself(content: dict[str, Any]) -> None:
    spec = load(content)
    assert loads_spec(dump_spec(spec)) == spec


@given(st.integers(0, 200), st.text(alphabet="abx0: {}[],-#'\n", max_size=6))
def test_a_damaged_spec_is_read_or_refused_with_places(position: int, insertion: str) -> None:
    source = dump_spec(loads_spec(starter_spec()))
    damaged = source[:position] + insertion + source[position + len(insertion) :]
    try:
        assert isinstance(loads_spec(damaged), SweepSpec)
    except SpecError as error:
        lines = damaged.splitlines()
        assert all(1 <= (p.line or 0) <= len(lines) + 1 for p in error.problems)  # noqa: PT017  # either is legal


def test_a_file_is_read_as_its_text(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(starter_spec())
    spec = load_spec(path)
    assert spec == loads_spec(starter_spec())
    assert spec.source_path == str(path)
    assert spec.source_text == starter_spec()


def test_where_a_spec_came_from_does_not_make_it_another(tmp_path: Path) -> None:
    spec = loads_spec(starter_spec(), "here.yaml")
    assert spec == loads_spec(starter_spec() + "# a comment\n", "there.yaml")
    assert spec != dataclasses.replace(spec, seeds=(1,))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_text_beyond_ascii_and_a_byte_order_mark_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("# Question: où?\n" + starter_spec().partition("#\n")[2], encoding=encoding)
    assert load_spec(path).question == "où?"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x7fELF\x00\x00", "this is a binary file"),
        ("name: s".encode("utf-16"), "this is a binary file"),
        (b"name: caf\xe9", "byte 9 is not UTF-8"),
        (b"#" * 1_000_001, "the file is larger than 1,000,000 bytes"),
        (b"", "the file is empty"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no such file\n    'orch init' writes a starter spec"):
        load_spec(tmp_path / "missing.yaml")
    with pytest.raises(SpecError, match="this is a folder\n    name the YAML file in it"):
        load_spec(tmp_path)


def test_a_file_that_cannot_be_read_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(SpecError, match="the file cannot be read: Permission denied\n    check its permissions"):
        load_spec(tmp_path / "sweep.yaml")


def test_a_path_below_a_file_is_told_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="the file cannot be read: Not a directory"):
        load_spec(tmp_path / "file" / "sweep.yaml")


BOMBS = {
    "a word of a megabyte": "a" * 999_000,
    "names without values": "token_" * 160_000,
    "urls without end": "http://a" * 120_000,
    "one key again and again": "a: 1\n" * 19_000,
    "merge keys": "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 27)),
    "an alias of itself": "a: &a [*a, *a]\n",
    "tags": "a: !!python/object/apply:os.system [ls]\n" * 5_000,
    "deep flow": "[" * 900_000,
    "deep blocks": "".join(f"{' ' * n}- \n" for n in range(1_300)),
    "tabs": "axes:\n" + "\t- 1\n" * 100_000,
    "control characters": "\x07" * 100_000,
    "a byte order mark in the middle": "a: 1\n\ufeffb: 2\n\ufeff" * 1_000,
    "many documents": "---\na: 1\n" * 50_000,
    "a number of a million digits": "seeds: " + "1" * 900_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_text_costs_no_more_than_an_honest_one(name: str) -> None:
    started = time.process_time()
    with pytest.raises(SpecError) as caught:
        loads_spec(BOMBS[name])
    assert time.process_time() - started < 5
    assert len(str(caught.value)) < 100_000


@pytest.mark.parametrize("filling", [b"\0", b"# comment\n"])
def test_a_file_of_a_hundred_megabytes_is_refused_unread(tmp_path: Path, filling: bytes) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.write(filling * 200_000)
        file.truncate(100_000_000)
    tracemalloc.start()
    with pytest.raises(SpecError, match=r"binary|larger than 1,000,000 bytes"):
        load_spec(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000
