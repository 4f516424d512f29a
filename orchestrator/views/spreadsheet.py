"""A frame in; CSV text out that a spreadsheet opens as data, never as formulas."""

from __future__ import annotations

import pandas as pd

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters after which a spreadsheet may compute a cell; the last four are full-width forms."""


def to_csv(frame: pd.DataFrame) -> str:
    """The frame as CSV: a header, no index, missing values empty, floats in full. Texts that a spreadsheet would take
    for a formula get an apostrophe in front; carriage returns become line feeds, because only these are quoted.
    """
    safe = frame.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]):
            safe[column] = _disarm_all(safe[column])
    safe.columns = [_disarm(column) for column in safe.columns]
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _disarm_all(column: pd.Series) -> pd.Series:
    """Each text that is there is looked at once, however many rows have it."""
    changed = {text: disarmed for text in column.dropna().unique() if (disarmed := _disarm(text)) != text}
    return column.map(lambda text: changed.get(text, text), na_action="ignore") if changed else column


def _disarm(text: object) -> object:
    if not isinstance(text, str):
        return text
    disarmed = f"'{text}" if text.startswith(FORMULA_STARTS) else text
    return disarmed.replace("\r\n", "\n").replace("\r", "\n")
