"""CSV holds every number in full and no formula."""

from __future__ import annotations

import csv
import io
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.views.spreadsheet import FORMULA_STARTS, to_csv


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("start", FORMULA_STARTS, ids=[repr(start) for start in FORMULA_STARTS])
def test_a_formula_is_disarmed_in_cells_and_headings(start: str) -> None:
    shown = start.replace("\r", "\n")
    rows = read(to_csv(pd.DataFrame({f"{start}head": [f"{start}cmd|' /C calc'!A0", "plain"]})))
    assert rows == [[f"'{shown}head"], [f"'{shown}cmd|' /C calc'!A0"], ["plain"]]


def test_negative_numbers_stay_numbers_and_missing_ones_stay_empty() -> None:
    frame = pd.DataFrame({"loss": [-0.5, None], "n": pd.Series([None, -3], dtype="Int64")})
    assert to_csv(frame) == "loss,n\n-0.5,\n,-3\n"


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_comes_back_exactly(value: float) -> None:
    assert float(read(to_csv(pd.DataFrame({"x": [value]})))[1][0]) == value


@given(
    texts=st.lists(
        st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), min_size=1, max_size=5
    )
)
def test_no_text_starts_a_formula_and_each_comes_back(texts: list[Any]) -> None:
    rows = read(to_csv(pd.DataFrame({"a": [1] * len(texts), "text": pd.Series(texts, dtype="string")})))
    found = [row[1] for row in rows[1:]]
    assert not any(text.startswith(FORMULA_STARTS) for text in found)
    lines = [text.replace("\r\n", "\n").replace("\r", "\n") for text in texts]
    assert [text.removeprefix("'") for text in found] == [text.removeprefix("'") for text in lines]


def test_a_carriage_return_cannot_start_a_row_of_its_own() -> None:
    assert read(to_csv(pd.DataFrame({"x": ["a\r=1+1"]}))) == [["x"], ["a\n=1+1"]]
