"""The table of faults is complete, and every test it names is there and tests something."""

from __future__ import annotations

import re

import pytest

from tests.markdown_pages import ROOT

PAGE = (ROOT / "docs/reliability.md").read_text()
NUM_FAULTS = 48
INVARIANTS = {f"I{number}" for number in range(1, 9)}


def rows() -> list[list[str]]:
    """Cells of the rows of faults."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")
    ]
    return [cells for cells in found if len(cells) == 5 and cells[0] != "#" and set("".join(cells)) != {"-"}]


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def test_every_fault_of_the_list_has_its_row() -> None:
    assert sorted(number for cells in rows() for number in numbers(cells[0])) == list(range(1, NUM_FAULTS + 1))


def test_every_row_says_what_happens_what_holds_and_what_shows_it() -> None:
    for cells in rows():
        assert len(cells[1]) > 5, cells
        assert len(cells[2]) > 10, cells
        assert set(re.findall(r"I\d", cells[3])) <= INVARIANTS, cells
        assert re.findall(r"I\d", cells[3]), cells


def test_every_invariant_is_held_by_some_row() -> None:
    held: set[str] = set()
    for cells in rows():
        ends = [int(number) for number in re.findall(r"I(\d)", cells[3])]
        held |= {f"I{n}" for n in (range(ends[0], ends[-1] + 1) if " to " in cells[3] else ends)}
    assert held == INVARIANTS


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([\w/]+\.py)`", PAGE))))
def test_every_file_that_is_named_has_tests(path: str) -> None:
    file = ROOT / "tests" / path
    assert file.exists(), path
    assert re.search(r"^def test_", file.read_text(), re.MULTILINE), path
