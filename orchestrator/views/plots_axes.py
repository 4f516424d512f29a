"""The numbers of a panel in; its limits, ticks and the room between its curves out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from orchestrator.views.plots_style import MUTED, shorten

PANEL_WIDTH_POINTS = 180.0
"""About the width of a panel when two share a page's width."""
LEGEND_ROW_IN = 0.16
CHARACTERS_PER_IN = 15.5

AXIS_TITLES: Mapping[str, str] = {
    "depth": "Depth (transformer blocks)",
    "embed_dim": "Embedding dimension (channels)",
    "num_heads": "Attention heads",
    "patch_size": "Patch size (pixels)",
    "img_size": "Image size (pixels)",
    "epochs": "Training length (epochs)",
    "batch_size": "Batch size (images)",
    "lr": "Peak learning rate",
}


def axis_title(axis: str) -> str:
    """What stands along an axis: its meaning and unit where known, its name elsewhere."""
    return AXIS_TITLES.get(axis.rpartition(".")[2], axis)


def accuracy_limits(data: pd.DataFrame) -> tuple[float, float]:
    """Vertical limits in percent that show every mean and seed, and every interval of ordinary size.

    An interval over two seeds can be wider than 0 to 100 %; what reaches too far beyond the other numbers is cut.
    """
    values = data["acc_percent"].dropna()
    if values.empty:
        return 0.0, 100.0
    low, high = float(values.min()), float(values.max())
    spread = max(high - low, 2.0)
    reach = spread * np.where((data["n"] == 2).fillna(False), 0.75, 2.5)
    low = float(np.fmin(low, data["low_percent"].clip(lower=low - reach).min()))
    high = float(np.fmax(high, data["high_percent"].clip(upper=high + reach).max()))
    low, high = max(low, 0.0), min(high, max(100.0, float(values.max())))
    pad = max(0.09 * (high - low), 1.0 - (high - low) / 2)
    edge = 0.05 * (high - low + 2.0 * pad)
    return max(low - pad, -edge), min(high + pad, max(100.0, high) + edge)


def label_once(panels: Sequence[Axes], num_columns: int) -> None:
    """Panels that share both scales, row by row in columns: only the left ones are labelled at their side, and only
    those with none below at their foot.
    """
    for number, panel in enumerate(panels):
        if number % num_columns:
            panel.set_ylabel("")
            panel.tick_params(labelleft=False)
        if number + num_columns < len(panels):
            panel.set_xlabel("")
            panel.tick_params(which="both", labelbottom=False)


def is_log(axis: str, places: Sequence[float]) -> bool:
    """Whether an axis is better drawn in logarithms: positive, over a factor 20 or more, and not depth."""
    return axis != "depth" and len(places) > 1 and places[0] > 0 and places[-1] >= 20.0 * places[0]


def spacing(panel: Axes, places: Sequence[float], num_curves: int) -> float:
    """Points between the curves of one place; half of it lies between a mean and its seeds."""
    if len(places) < 2:
        return 9.0
    ends = [panel.transScale.transform((place, 1.0))[0] for place in places]
    nearest = min(b - a for a, b in pairwise(ends)) / (ends[-1] - ends[0])
    return float(min(7.0, min(22.0, 0.75 * nearest * PANEL_WIDTH_POINTS) / max(num_curves, 1)))


def set_x_axis(panel: Axes, axis: str, places: Sequence[float]) -> None:
    """A named axis with a tick at each place; where labels would touch, at round values instead."""
    panel.set_xlabel(shorten(axis_title(axis), 40))
    if not places:
        panel.xaxis.set_major_locator(NullLocator())
        return
    if is_log(axis, places):
        panel.set_xscale("log")
    forward = panel.transScale.transform
    ends = [float(forward((place, 1.0))[0]) for place in places]
    span = ends[-1] - ends[0]
    pad = 0.08 * span or 0.5
    backward = panel.transScale.inverted().transform
    panel.set_xlim(float(backward((ends[0] - pad, 1.0))[0]), float(backward((ends[-1] + pad, 1.0))[0]))
    widths = [0.02 * span * (len(short_value(place)) + 1) for place in places]
    touches = any(b - a < (u + v) / 2 for (a, b), (u, v) in zip(pairwise(ends), pairwise(widths), strict=True))
    round_values = LogLocator() if is_log(axis, places) else MaxNLocator(8, steps=[1, 2, 4, 5, 8, 10])
    panel.xaxis.set_major_locator(round_values if touches else FixedLocator([float(place) for place in places]))
    panel.xaxis.set_minor_locator(FixedLocator([float(place) for place in places]))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_value(value)))


def short_value(value: float) -> str:
    """A value of an axis: `12`, `0.001`."""
    return f"{float(value):.6g}"


def label_counts(panel: Axes, counts: pd.Series) -> None:
    """A horizontal axis of counts: logarithmic where they span more than a factor 3; ticks as 20k, 1.5M."""
    low, high = float(counts.min()), float(counts.max())
    if high > 3.0 * low:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300.0 * low else (1.0,)))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlim(low / 1.25, high * 1.25)
    else:
        pad = 0.1 * (high - low) or 0.1 * high
        panel.set_xlim(low - pad, high + pad)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))


def short_count(value: float) -> str:
    """A count with at most three digits and a unit.

    >>> short_count(1_250_000)
    '1.25M'
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def count_label(data: pd.DataFrame, labels: Collection[str]) -> str:
    """`n = 3`, or `n = 2 to 3` where the cells of these curves have different numbers of trials."""
    counts = data.loc[data["curve"].isin(list(labels)) & data["n"].notna(), "n"]
    if counts.empty:
        return "n = 0"
    low, high = int(counts.min()), int(counts.max())
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def say_empty(panel: Axes, text: str = "no finished trial yet") -> None:
    """Says inside a panel why it is empty."""
    panel.set_xticks([])
    panel.set_yticks([])
    panel.text(0.5, 0.5, text, ha="center", va="center", color=MUTED, transform=panel.transAxes)


def legend_columns(handles: Sequence[Line2D], width_in: float) -> int:
    """As many columns as fit; matplotlib fills them one after the other."""
    lengths = [len(str(handle.get_label())) + 8 for handle in handles]
    for columns in range(min(len(lengths), 6), 1, -1):
        if sum(part.max() for part in np.array_split(lengths, columns)) <= width_in * CHARACTERS_PER_IN:
            return columns
    return 1
