"""spec.py: files in, and YAML back out."""

from __future__ import annotations

import dataclasses
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
