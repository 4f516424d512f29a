"""Curves in, how they look out: colours, markers, lines, facets; and a figure in, its SVG, PNG and PDF bytes out.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with colour-blindness tell apart;
yellow is left out, because it is faint on white. Markers differ too, so grey prints are readable. Equal input gives
equal bytes.
"""

from __future__ import annotations

import io
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
COLORS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
LINES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
MUTED = "#595959"
"""Text that is not data; 7:1 on white."""

FIXED_HUES: Mapping[str, int] = {"self": 0, "reattention": 1}
"""These attentions look the same in every figure."""

MAX_CURVES = 6
"""More curves than this in one panel hide each other's intervals."""

ONLY_PANEL = "This sweep"

FULL_WIDTH_IN = 7.0
"""Width of a page's text in inches; fonts are sized for print at this width."""

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "text.parse_math": False,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "figure.constrained_layout.w_pad": 0.09,
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class CurveStyle:
    """How one curve looks."""

    name: str
    """Its text in the legend: its parts that vary and that its panel's title does not tell."""
    panel: str
    """Title of the panel it is drawn in."""
    color: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]
    is_filled: bool
    """Whether markers are filled; hollow ones tell a second axis apart in grey prints."""


def style_curves(curves: Mapping[str, Mapping[str, str]]) -> dict[str, CurveStyle]:
    """A style for each curve, given as label -> parts (axis -> text).

    The attention, or the first axis that varies, sets colour and marker; the next one the line (up to four values, and
    where a panel holds them all); every further axis the panel. A panel holds at most `MAX_CURVES`; more go on in
    another.
    """
    varying = _varying_axes(list(curves.values()))
    hue = varying[0] if varying else None
    hues = _number_hues([parts.get(hue, "") if hue else label for label, parts in curves.items()])
    line_axis = _line_axis(curves, varying)
    further = [axis for axis in varying[1:] if axis != line_axis]
    lines = {value: index for index, value in enumerate(_values(curves, line_axis))} if line_axis else {}
    panels = _panel_titles(curves, further)
    told = [axis for axis in dict.fromkeys(axis for parts in curves.values() for axis in parts) if axis in varying]
    told = [axis for axis in told if axis not in further]
    styles = {}
    for label, parts in curves.items():
        number = hues[parts.get(hue, "") if hue else label]
        line = lines[parts.get(line_axis, "")] if line_axis else number // len(COLORS)
        styles[label] = CurveStyle(
            name=", ".join(parts[axis] for axis in told if axis in parts) or label,
            panel=panels[label],
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
            line=LINES[line % len(LINES)],
            is_filled=line % 2 == 0,
        )
    return styles


@contextmanager
def house_style() -> Iterator[None]:
    """Figures made inside have our fonts, lines and grid; the process's own settings are untouched."""
    with matplotlib.rc_context(STYLE):
        yield


def settle(figure: Figure) -> Figure:
    """The figure with its layout computed once and fixed, so that every file format shows the same."""
    engine = figure.get_layout_engine()
    assert engine is not None
    with _without_glyph_warnings():
        engine.execute(figure)
    figure.set_layout_engine(None)  # "none" would leave a placeholder, for which every file is drawn twice
    return figure


def figure_files(figure: Figure, name: str) -> dict[str, bytes]:
    """The figure as `svg`, `png` and `pdf`; equal figures of one name give equal bytes, without dates or versions."""
    files = {}
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), _without_glyph_warnings():
        for kind in ("svg", "png", "pdf"):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=dict.fromkeys(_METADATA[kind]))
            files[kind] = buffer.getvalue()
    return files


def shorten(text: str, limit: int) -> str:
    """`text` on one line, with its middle left out where it is longer than `limit`, and no unprintable character."""
    clean = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())
    if len(clean) <= limit:
        return clean
    head = (limit - 1) * 2 // 3
    return f"{clean[:head]}…{clean[-(limit - 1 - head) :]}"


@contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    """A character that the font lacks is drawn as a box; the page beside the figure has it as text."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


_METADATA = {
    "svg": ("Date", "Creator"),
    "png": ("Software",),
    "pdf": ("CreationDate", "Producer", "Creator"),
}


def _varying_axes(curves: list[Mapping[str, str]]) -> list[str]:
    """Axes that take several values, attention first; one that only repeats another is left out."""
    axes = dict.fromkeys(axis for parts in curves for axis in parts)
    seen: list[tuple[int, ...]] = []
    varying = []
    for axis in sorted(axes, key=lambda name: not name.endswith("attention")):
        values = [parts.get(axis, "") for parts in curves]
        pattern = tuple(values.index(value) for value in values)
        if len(set(values)) > 1 and pattern not in seen:
            seen.append(pattern)
            varying.append(axis)
    return varying


def _line_axis(curves: Mapping[str, Mapping[str, str]], varying: list[str]) -> str | None:
    """The second axis that varies, where the line can tell its values apart and no panel is cut for it."""
    if len(varying) < 2 or len(_values(curves, varying[1])) > len(LINES):
        return None
    sizes = Counter(tuple(parts.get(axis) for axis in varying[2:]) for parts in curves.values())
    return varying[1] if max(sizes.values()) <= MAX_CURVES else None


def _panel_titles(curves: Mapping[str, Mapping[str, str]], axes: list[str]) -> dict[str, str]:
    """The panel of each curve: the values of `axes`, cut into parts where a panel would hold too many curves."""
    titles = {
        label: ", ".join(parts.get(axis, f"without {axis}") for axis in axes) or ONLY_PANEL
        for label, parts in curves.items()
    }
    members: dict[str, list[str]] = {}
    for label, title in titles.items():
        members.setdefault(title, []).append(label)
    for title, labels in members.items():
        num_parts = math.ceil(len(labels) / MAX_CURVES)
        size = math.ceil(len(labels) / num_parts)
        if num_parts > 1:
            titles |= {label: f"{title} ({rank // size + 1} of {num_parts})" for rank, label in enumerate(labels)}
    return titles


def _values(curves: Mapping[str, Mapping[str, str]], axis: str) -> list[str]:
    return list(dict.fromkeys(parts.get(axis, "") for parts in curves.values()))


def _number_hues(values: list[str]) -> dict[str, int]:
    """A number for each value; the attentions of `FIXED_HUES` keep theirs."""
    distinct = list(dict.fromkeys(values))
    numbers = {value: FIXED_HUES[value] for value in distinct if value in FIXED_HUES}
    free = (number for number in range(len(distinct) + len(FIXED_HUES)) if number not in numbers.values())
    return {value: numbers[value] if value in numbers else next(free) for value in distinct}
