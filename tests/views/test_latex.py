"""LaTeX that compiles: every special character is escaped, every row has its columns."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.views.answer_tables import delta_table
from orchestrator.views.frames import Frames
from orchestrator.views.latex import SPECIAL, escape, to_latex
from orchestrator.views.report_content import TextTable

AWKWARD = r"50 % of a_b & {c} #1 $x$ ~ ^ \end{document} < > "


def bare(text: str) -> str:
    """The text without the commands that `escape` writes."""
    for written in sorted(SPECIAL.values(), key=len, reverse=True):
        text = text.replace(written, "")
    return text


@given(st.text())
def test_nothing_that_latex_reads_as_a_command_is_left(text: str) -> None:
    assert not re.search(r"[\\{}$&#%_~^<>]", bare(escape(text)))


def test_plain_text_is_itself() -> None:
    assert escape("depth 12, n = 3") == "depth 12, n = 3"
    assert escape("a\nb  c") == "a b c"


def test_numbers_stand_to_the_right_and_texts_to_the_left() -> None:
    table = TextTable(("cell", "acc", "size"), (("a", "93.1", "1.2M"), ("b", "\N{MINUS SIGN}2", "\N{EN DASH}")), 0)
    lines = to_latex(table, "Cells: a_b", "x").splitlines()
    assert r"\begin{tabular}{lrr}" in lines
    assert r"\caption{Cells: a\_b}" in lines
    assert r"b & $-$2 & -- \\" in lines


def test_every_row_has_as_many_columns_as_the_head(frames: Frames) -> None:
    table = delta_table(frames.answers)
    rows = [line for line in to_latex(table, "Deltas", "d").splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {len(table.headings) - 1}
    assert len(rows) == len(table.rows) + 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_it_compiles(tmp_path: Path) -> None:
    table = TextTable((AWKWARD, "b"), ((AWKWARD, "1"),), 0)
    body = to_latex(table, AWKWARD, "x")
    page = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "page.tex").write_text(page)
    subprocess.run(
        ["pdflatex", "-halt-on-error", "page.tex"], cwd=tmp_path, check=True, timeout=120, capture_output=True
    )
