"""A table of texts in; a LaTeX table out, with booktabs rules, that compiles as it stands inside a document."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.views.report_content import TextTable

SPECIAL: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": "--",
    "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
}
"""Characters that LaTeX reads as commands, or that its default fonts lack."""


def to_latex(table: TextTable, caption: str, label: str) -> str:
    """The table as a `table` float: numbers to the right, texts to the left; needs the package booktabs.

    Args:
        caption: plain text, escaped here.
        label: without its `tab:`.
    """
    columns = list(zip(*table.rows, strict=True)) if table.rows else [()] * len(table.headings)
    layout = "".join("r" if column and all(map(_is_number, column)) else "l" for column in columns)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        _row(table.headings),
        r"\midrule",
        *(_row(row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    r"""The text as LaTeX prints it.

    >>> escape("attn_scale: 5 %")
    'attn\\_scale: 5 \\%'
    """
    return "".join(SPECIAL.get(character, character) for character in " ".join(text.split()))


def _row(texts: tuple[str, ...]) -> str:
    return " & ".join(escape(text) for text in texts) + r" \\"


def _is_number(text: str) -> bool:
    plain = text.replace("\N{MINUS SIGN}", "-").rstrip("kMG")
    try:
        float(plain)
    except ValueError:
        return text == "\N{EN DASH}"
    return True
