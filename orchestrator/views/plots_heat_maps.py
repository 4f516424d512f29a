"""The frame of `heat_map_data` in; block-by-block similarity as heat maps out: a row a curve, a column a kind.

Only the triangle below the diagonal is drawn, for the measure is symmetric. Colours are cividis, which people with
colour-blindness read as others do, in fifty steps; every panel has the one that stands beside.
Squares of one colour are one path, so that a page with many of them stays small.
"""

from __future__ import annotations

from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from orchestrator.views.plots_style import FULL_WIDTH_IN, MUTED, house_style, settle, shorten

COLORMAP = "cividis"
NUM_STEPS = 50
OVERLAP = 0.05
"""Of a square's side, to the right and down; without it the paper shines through between squares."""
LABEL_LENGTH = 18
"""Characters that fit beside a panel."""
Run = tuple[int, int, int]
"""A row of squares of one colour: its row, its first column, and the column after its last."""


def plot_heat_maps(data: pd.DataFrame, measure: str = "Mean cosine") -> Figure:
    """Mean similarity of every two blocks, from dark blue at the lowest value shown (0, or less) to yellow at 1."""
    curves, panels = list(dict.fromkeys(data["curve"])), list(dict.fromkeys(data["panel"]))
    low = min(0.0, float(data["similarity"].min()))
    size = (FULL_WIDTH_IN - 1.0) / 5
    num_blocks = int(data["block_idx"].max()) + 1
    with house_style():
        figure = Figure(figsize=(1.0 + size * len(panels), 0.6 + size * len(curves)), layout="constrained")
        axes = figure.subplots(len(curves), len(panels), squeeze=False, sharex=True, sharey=True)
        for row, curve in enumerate(curves):
            for column, panel in enumerate(panels):
                ax = axes[row][column]
                _draw(ax, data[(data["panel"] == panel) & (data["curve"] == curve)], low, num_blocks)
                if row == 0:
                    ax.set_title(str(panel).replace(", ", ",\n"), fontsize=7.0, fontweight="normal")
                if column == 0:
                    ax.set_ylabel(_two_lines(str(curve)), fontsize=6.5)
        figure.supxlabel("Block (index from 0)", fontsize=7.5)
        _add_scale(axes[len(curves) // 2][-1], low, measure)
        return settle(figure)


def _two_lines(curve: str) -> str:
    first, _, rest = curve.partition(", ")
    return "\n".join(shorten(text, LABEL_LENGTH) for text in (first, rest) if text)


def _draw(ax: Axes, rows: pd.DataFrame, low: float, num_blocks: int) -> None:
    ax.set(xlim=(-0.5, num_blocks - 0.5), ylim=(num_blocks - 0.5, -0.5), aspect="equal")
    ax.grid(visible=False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, integer=True))
    ax.tick_params(length=2.0, labelsize=6.5)
    if rows.empty:
        ax.text(0.5, 0.5, "not there", ha="center", va="center", transform=ax.transAxes, fontsize=6.5, color=MUTED)
    steps = np.full((num_blocks, num_blocks), -1)
    shares = (rows["similarity"].to_numpy(dtype=float) - low) / (1.0 - low)
    places = rows["block_idx"].to_numpy(dtype=int), rows["other_block_idx"].to_numpy(dtype=int)
    steps[places] = np.clip(np.round(shares * NUM_STEPS), 0, NUM_STEPS)
    for step, runs in find_runs(steps).items():
        path = Path.make_compound_path(*(_rectangle(run) for run in runs))
        color = matplotlib.colormaps[COLORMAP](step / NUM_STEPS)
        ax.add_patch(PathPatch(path, facecolor=color, edgecolor="none"))


def find_runs(steps: np.ndarray) -> dict[int, list[Run]]:
    """Colour to its runs, for every entry that is not negative."""
    found: dict[int, list[Run]] = {}
    for row, values in enumerate(steps):
        changes = np.flatnonzero(np.diff(values)) + 1
        starts, ends = [0, *changes.tolist()], [*changes.tolist(), len(values)]
        for start, end in zip(starts, ends, strict=True):
            if values[start] >= 0:
                found.setdefault(int(values[start]), []).append((row, start, end))
    return found


def _rectangle(run: Run) -> Path:
    row, start, end = run
    left, right, top, bottom = start - 0.5, end - 0.5 + OVERLAP, row - 0.5, row + 0.5 + OVERLAP
    return Path([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], closed=True)


def _add_scale(beside: Axes, low: float, measure: str) -> None:
    """A strip of every colour, drawn by hand because matplotlib's own is a picture and no vector."""
    ax = beside.inset_axes((1.12, 0.0, 0.09, 1.0))
    edges = np.linspace(low, 1.0, NUM_STEPS + 2)
    for step, (bottom, top) in enumerate(pairwise(edges)):
        color = matplotlib.colormaps[COLORMAP](step / NUM_STEPS)
        ax.axhspan(bottom, top, facecolor=color, edgecolor=color, lw=0.3)
    ax.set(ylim=(low, 1.0), xticks=[])
    ax.set_ylabel(measure, fontsize=7.0)
    ax.yaxis.set_label_position("right")
    ax.yaxis.tick_right()
    ax.tick_params(length=2.0, labelsize=6.5)
    ax.grid(visible=False)
