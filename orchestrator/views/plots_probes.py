"""Frames of `probe_figure_data` in; figures of the diagnostics out: trained beside untrained and shuffled.

A colour is a curve, a line style a moment, in every figure alike. Bands are 95 % intervals over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from orchestrator.views.curve_choice import choose_curves
from orchestrator.views.plots_axes import legend_columns, set_x_axis
from orchestrator.views.plots_style import (
    BLUE,
    COLORS,
    FULL_WIDTH_IN,
    MARKERS,
    MUTED,
    VERMILLION,
    house_style,
    settle,
    shorten,
    style_curves,
)
from orchestrator.views.probe_figure_data import MAX_CURVES, SHUFFLED, TRAINED, UNTRAINED

LINES: Mapping[str, Any] = {TRAINED: "-", UNTRAINED: (0, (4, 2)), SHUFFLED: (0, (1, 1.4))}
MOMENT_TEXTS: Mapping[str, str] = {
    TRAINED: "trained",
    UNTRAINED: "untrained",
    SHUFFLED: "trained, images of one block shuffled",
}
MAP_TITLES: Mapping[str, str] = {"softmax": "Softmax map", "map": "Map that multiplies V"}


@dataclass(frozen=True)
class Panel:
    """What one panel of a figure by block shows."""

    metric: str
    """As in the frame."""
    title: str
    label: str
    """Along the vertical axis, with the unit."""
    limits: tuple[float, float] | None = None
    """Of the vertical axis; None follows the numbers."""


def plot_block_curves(data: pd.DataFrame, panels: Sequence[Panel]) -> Figure:
    """A panel a metric, two a row, each against the block's index; panels without numbers are left out."""
    shown = [panel for panel in panels if (data["metric"] == panel.metric).any()]
    looks = _looks(data)
    moments = [moment for moment in LINES if (data["moment"] == moment).any()]
    with house_style():
        handles = _curve_handles(looks) + _moment_handles(moments)
        figure, axes = _grid(len(shown), handles)
        last = int(data["block_idx"].max())
        for panel, ax in zip(shown, axes, strict=True):
            _draw_metric(ax, data[data["metric"] == panel.metric], looks)
            ax.set_title(panel.title)
            ax.set_ylabel(panel.label)
            ax.set_xlabel("Block (index from 0)")
            ax.set_xlim(-0.04 * max(last, 1), 1.04 * max(last, 1))
            ax.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=[1, 2, 4, 5, 8, 10]))
            _set_limits(ax, panel.limits)
        _add_legend(figure, handles)
        return settle(figure)


def plot_similar_blocks(data: pd.DataFrame) -> Figure:
    """Share of similar blocks against the frame's horizontal axis: a panel for each map and rule, and where there are
    published counts a panel of their own.
    """
    x = data.attrs["x"]
    ours = data[data["map"] != "not published"]
    published = data[data["map"] == "not published"]
    looks = _looks(ours)
    kinds = [(m, r) for m, r in ours[["map", "rule"]].drop_duplicates().itertuples(index=False)]
    with house_style():
        handles = _curve_handles(looks) + _moment_handles([m for m in LINES if (ours["moment"] == m).any()])
        figure, axes = _grid(len(kinds) + (not published.empty), handles)
        for (map_kind, rule), ax in zip(kinds, axes, strict=False):
            panel = ours[(ours["map"] == map_kind) & (ours["rule"] == rule)]
            _draw_share(ax, panel, x, looks)
            ax.set_title(f"{MAP_TITLES[map_kind]}, rule “{rule}”")
        if not published.empty:
            _draw_published(axes[-1], published)
        _add_legend(figure, handles)
        return settle(figure)


def _looks(data: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colour and marker of each drawn curve, the same in every figure of a report.

    They are those of the figure of accuracy against depth. Of curves that share a colour there and differ in their
    line, the first keeps it and the others take free ones, because here the line says when the network was probed.
    """
    styles = style_curves(data.attrs["parts"])
    curves = choose_curves(data.attrs["parts"], MAX_CURVES)
    wanted = {curve: (styles[curve].color, styles[curve].marker) for curve in curves}
    firsts = {look[0]: curve for curve, look in reversed(wanted.items())}
    free = iter([(color, MARKERS[n]) for n, color in enumerate(COLORS) if color not in firsts])
    looks = {curve: look if firsts[look[0]] == curve else next(free) for curve, look in wanted.items()}
    return {curve: look for curve, look in looks.items() if (data["curve"] == curve).any()}


def _draw_metric(ax: Axes, data: pd.DataFrame, looks: Mapping[str, tuple[str, str]]) -> None:
    for curve, (color, marker) in looks.items():
        for moment, line in LINES.items():
            rows = data[(data["curve"] == curve) & (data["moment"] == moment)].sort_values("block_idx")
            if rows.empty:
                continue
            at, low, high = rows["block_idx"].astype(float), rows["low"], rows["high"]
            look: dict[str, Any] = {"color": color, "linestyle": line, "lw": 1.4 if moment == TRAINED else 1.0}
            if moment == TRAINED:
                look |= {"marker": marker, "ms": 3.4, "markevery": max(1, math.ceil(len(rows) / 8))}
            ax.plot(at, rows["value"], **look, zorder=4 if moment == TRAINED else 3)
            if low.notna().any() and moment == TRAINED:
                ax.fill_between(at, low, high, color=color, alpha=0.14, lw=0, zorder=2)


def _draw_share(ax: Axes, data: pd.DataFrame, x: str, looks: Mapping[str, tuple[str, str]]) -> None:
    places = sorted(data[x].dropna().astype(float).unique())
    set_x_axis(ax, x, places)
    for number, (curve, (color, marker)) in enumerate(looks.items()):
        size = 6.4 - 3.2 * number / max(len(looks) - 1, 1)
        for moment in (UNTRAINED, TRAINED):
            rows = data[(data["curve"] == curve) & (data["moment"] == moment)].sort_values(x)
            at, low, high = rows[x].astype(float), rows["low_percent"], rows["high_percent"]
            look = {"color": color, "linestyle": LINES[moment], "marker": marker, "ms": size, "zorder": 4}
            ax.plot(at, rows["share_percent"], **look, mfc=color if moment == TRAINED else "white", lw=1.2)
            known = low.notna() & (moment == TRAINED)
            ax.vlines(at[known], low[known].clip(lower=0), high[known].clip(upper=100), color=color, lw=0.9, zorder=3)
    ax.set_ylim(-4.0, 104.0)
    ax.set_ylabel("Similar blocks (% of depth)")


def _draw_published(ax: Axes, data: pd.DataFrame) -> None:
    looks = {"ViT": (BLUE, "o", "self-attention (ViT)"), "DeepViT": (VERMILLION, "s", "Re-attention (DeepViT)")}
    for model, (color, marker, label) in looks.items():
        curve = data[data["curve"] == model].sort_values("depth")
        ax.plot(curve["depth"].astype(float), curve["share_percent"], color=color, marker=marker, ms=4.6, label=label)
    set_x_axis(ax, "depth", sorted(data["depth"].dropna().unique()))
    ax.set_ylim(-4.0, 104.0)
    ax.set_title("Published, ImageNet-1k")
    ax.set_ylabel("Similar blocks (% of depth)")
    legend = ax.legend(loc="upper left", title="single runs; rule not published", alignment="left")
    legend.get_title().set(color=MUTED, fontsize=7.0)


def _set_limits(ax: Axes, limits: tuple[float, float] | None) -> None:
    if limits is None:
        ax.margins(y=0.08)
        return
    low, high = limits
    pad = 0.04 * (high - low)
    ax.set_ylim(low - pad, high + pad)


def _curve_handles(looks: Mapping[str, tuple[str, str]]) -> list[Line2D]:
    return [
        Line2D([], [], color=color, marker=marker, ms=4.2, label=shorten(str(curve), 44))
        for curve, (color, marker) in looks.items()
    ]


def _moment_handles(moments: Sequence[str]) -> list[Line2D]:
    return [Line2D([], [], color=MUTED, linestyle=LINES[m], lw=1.2, label=MOMENT_TEXTS[m]) for m in moments]


def _grid(count: int, handles: Sequence[Line2D]) -> tuple[Figure, list[Axes]]:
    columns = min(count, 2)
    rows = math.ceil(count / columns)
    width = FULL_WIDTH_IN if columns > 1 else FULL_WIDTH_IN * 0.72
    legend = 0.16 * math.ceil(len(handles) / legend_columns(handles, width))
    figure = Figure(figsize=(width, 0.25 + 2.25 * rows + legend), layout="constrained")
    figure.set_layout_engine("constrained", h_pad=0.07)
    return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


def _add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    columns = legend_columns(handles, figure.get_figwidth())
    figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)
