"""The answers of a sweep in; the figure of differences between arms out: an interval a depth, and the pooled one."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from orchestrator.views.answer_tables import contrast_frame, delta_frame
from orchestrator.views.answers import Answers
from orchestrator.views.plots_axes import set_x_axis
from orchestrator.views.plots_style import BLUE, FULL_WIDTH_IN, MUTED, VERMILLION, house_style, settle, shorten

MAX_PANELS, FEW_PANELS, MANY_PAIRS = 12, 6, 36
"""Of more pairs than `MAX_PANELS` the first ones are drawn; of more than `MANY_PAIRS` only `FEW_PANELS`."""
COLUMNS = 3


def delta_data(answers: Answers) -> pd.DataFrame:
    """Rows of kind `depth` (a - b at one depth) and `pooled` (over all of them), in points of accuracy."""
    by_depth = delta_frame(answers).assign(kind="depth")
    contrasts = contrast_frame(answers)
    pooled = contrasts[contrasts["contrast"] == "pooled"].assign(kind="pooled")
    names = ["kind", "a", "b", "context", "depth", "n", "delta_points", "low_points", "high_points", "method"]
    parts = [part.reindex(columns=names) for part in (by_depth, pooled) if len(part)]
    data = pd.concat(parts, ignore_index=True) if parts else by_depth.reindex(columns=names)
    return data.astype({"kind": "string", "depth": "Int64"})


def plot_deltas(data: pd.DataFrame) -> Figure:
    """A panel for each pair, one scale: means with 95 % intervals against depth, and at the right the pooled one."""
    pairs = _drawn_pairs(data)[0]
    columns = min(len(pairs), COLUMNS)
    rows = math.ceil(len(pairs) / columns)
    width = {1: 0.6, 2: 0.85}.get(columns, 1.0) * FULL_WIDTH_IN
    with house_style():
        figure = Figure(figsize=(width, 0.3 + 2.1 * rows), layout="constrained")
        shared = None
        for number, (a, b, context) in enumerate(pairs):
            ax = figure.add_subplot(rows, columns, number + 1, sharey=shared)
            shared = shared or ax
            mine = data[(data["a"] == a) & (data["b"] == b) & (data["context"] == context)]
            _draw_pair(ax, mine)
            fits = round(11.5 * width / columns)
            whole = f"{a} \N{MINUS SIGN} {b}"
            lines = [whole] if len(whole) <= fits else [a, f"\N{MINUS SIGN} {b}"]
            ax.set_title("\n".join(shorten(text, fits) for text in (*lines, context) if text), fontsize=7.0)
            if number % columns == 0:
                ax.set_ylabel("Difference (points)")
        return settle(figure)


def _draw_pair(ax: Axes, mine: pd.DataFrame) -> None:
    by_depth = mine[mine["kind"] == "depth"].sort_values("depth")
    places = [float(depth) for depth in by_depth["depth"]]
    set_x_axis(ax, "depth", places)
    ax.axhline(0.0, color=MUTED, lw=0.8, zorder=1)
    for rows, color, marker, at in (
        (by_depth, BLUE, "o", places),
        (mine[mine["kind"] == "pooled"], VERMILLION, "D", [1.0]),
    ):
        has_place = color == BLUE
        inside = ax.get_yaxis_transform() + ScaledTranslation(-9 / 72.0, 0.0, ax.figure.dpi_scale_trans)
        place = ax.transData if has_place else inside
        here = at[: len(rows)]
        ax.plot(here, rows["delta_points"], marker, ms=4.4, color=color, zorder=3, transform=place)
        known = rows["low_points"].notna().to_numpy()
        spots = [x for x, is_known in zip(here, known, strict=True) if is_known]
        ax.vlines(
            spots, rows["low_points"][known], rows["high_points"][known], color=color, lw=1.1, zorder=2, transform=place
        )
    left, right = ax.get_xlim()
    ax.set_xlim(left, right + 0.16 * (right - left))


def delta_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_deltas`."""
    low, high = int(data["n"].min()), int(data["n"].max())
    seeds = f"{low} seed{'s' * (low != 1)}" if low == high else f"{low} to {high} seeds"
    methods = data["method"].dropna().unique()
    over = "seeds and test images" if list(methods) == ["seed x image"] else "seeds alone, on these test images"
    text = f"Difference in test accuracy, paired by seed, {seeds}. Bars: 95 % intervals over {over}, not adjusted."
    text += " Diamond: pooled over depths." * bool((data["kind"] == "pooled").any())
    drawn, num_pairs = _drawn_pairs(data)
    return text + f" Only the first {len(drawn)} of {num_pairs} pairs are drawn." * (num_pairs > len(drawn))


def _drawn_pairs(data: pd.DataFrame) -> tuple[list[tuple[str, str, str]], int]:
    """(a, b, context) of each pair that is drawn, and the number of all pairs."""
    pairs = list(dict.fromkeys(zip(data["a"], data["b"], data["context"], strict=True)))
    return pairs[: FEW_PANELS if len(pairs) > MANY_PAIRS else MAX_PANELS], len(pairs)
