"""Frames in, one figure a function out; no global state of matplotlib is touched.

What is drawn stands in `figure_data.py`, number by number. Missing values are absent, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from orchestrator.views.plots_axes import (
    LEGEND_ROW_IN,
    accuracy_limits,
    count_label,
    label_counts,
    label_once,
    legend_columns,
    say_empty,
    set_x_axis,
    spacing,
)
from orchestrator.views.plots_labels import LabelledPoint, place_labels
from orchestrator.views.plots_style import (
    BLUE,
    FULL_WIDTH_IN,
    MUTED,
    ONLY_PANEL,
    VERMILLION,
    CurveStyle,
    house_style,
    settle,
    shorten,
    style_curves,
)

Styles = Mapping[str, CurveStyle]
COLUMNS = 2
COST_TITLES: Mapping[str, str] = {"num_params": "Parameters", "flops": "FLOPs an image, forward"}


def plot_accuracy_curves(data: pd.DataFrame) -> Figure:
    """Test accuracy against depth: a curve's means with 95 % intervals, its seeds as dots beside them, and where
    depth is the horizontal axis the published ImageNet-1k curves in a panel of their own.

    Without a depth axis the first numeric axis is horizontal. Diverged trials are crosses on the floor of the panel:
    they have no accuracy.

    Args:
        data: `accuracy_vs_depth_data`, or any frame with its columns and `attrs`.
    """
    x, ours = data.attrs["x"], data[data["kind"] != "published"]
    published = data[data["kind"] == "published"]
    styles = style_curves(data.attrs["parts"])
    titles = list(dict.fromkeys(style.panel for style in styles.values())) or [ONLY_PANEL]
    with house_style():
        handles = _handles(ours, styles) + _seed_handles(ours)
        figure, panels = _panels(len(titles) + (not published.empty), handles)
        limits = accuracy_limits(ours)
        for panel, title in zip(panels, titles, strict=False):
            members = {label: style for label, style in styles.items() if style.panel == title}
            _draw_accuracy(panel, ours, members, x, limits)
            panel.set_title(shorten(title, 44))
        label_once(panels[: len(titles)], COLUMNS)
        if not published.empty:
            _draw_published(panels[-1], published)
        _add_legend(figure, handles)
        return settle(figure)


def plot_accuracy_vs_cost(data: pd.DataFrame, count: str) -> Figure:
    """Mean test accuracy with 95 % intervals against the number of parameters or the FLOPs of one image; small numbers
    are depths, left out where there is no room.

    Curves are moved sideways by a few points, so that cells of equal size stand side by side.

    Args:
        data: `accuracy_vs_params_data` or `accuracy_vs_flops_data`.
        count: `num_params` or `flops`.
    """
    styles = style_curves(data.attrs["parts"])
    titles = list(dict.fromkeys(style.panel for style in styles.values())) or [ONLY_PANEL]
    with house_style():
        handles = _handles(data, styles)
        figure, panels = _panels(len(titles), handles)
        points = []
        for panel, title in zip(panels, titles, strict=True):
            panel.set_title(
                shorten(title, 44) if len(titles) > 1 else " ", pad=10.0
            )  # room for numbers above intervals
            members = {label: style for label, style in styles.items() if style.panel == title}
            points.append(_draw_cost(panel, data, members, count))
        label_once(panels, COLUMNS)
        _add_legend(figure, handles)
        settle(figure)
        for panel, labelled in zip(panels, points, strict=True):
            place_labels(panel, labelled)
        return figure


def _draw_cost(panel: Axes, data: pd.DataFrame, styles: Styles, count: str) -> list[LabelledPoint]:
    """Draws the curves of one panel; the points wait for their numbers until the layout is final."""
    panel.set_ylim(*accuracy_limits(data))
    panel.set_ylabel("Test accuracy (%)")
    panel.set_xlabel(f"{COST_TITLES[count]} (small numbers: depth)")
    if data.empty:
        say_empty(panel)
        return []
    label_counts(panel, data[count])
    step = min(4.0, 24.0 / max(len(styles), 1))
    points = []
    for number, (label, style) in enumerate(styles.items()):
        shift = (number - (len(styles) - 1) / 2) * step
        curve = data[data["curve"] == label].sort_values(["depth", count])
        _draw_means(panel, curve, count, style, shift)
        points += [_named_by_depth(cell, count, shift) for _, cell in curve.iterrows()]
    return points


def _panels(count: int, handles: Sequence[Line2D]) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels, two a row, and room below for the legend."""
    columns = min(count, COLUMNS)
    rows = math.ceil(count / columns)
    width = FULL_WIDTH_IN if columns > 1 else FULL_WIDTH_IN * 0.72
    legend = math.ceil(len(handles) / legend_columns(handles, width)) * LEGEND_ROW_IN if handles else 0.0
    figure = Figure(figsize=(width, 0.25 + 2.55 * rows + legend), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, number + 1) for number in range(count)]


def _draw_accuracy(panel: Axes, data: pd.DataFrame, styles: Styles, x: str, limits: tuple[float, float]) -> None:
    places = sorted(data[x].dropna().unique())
    set_x_axis(panel, x, places)
    panel.set_ylim(*limits)
    panel.set_ylabel("Test accuracy (%)")
    step = spacing(panel, places, len(styles))
    for number, (label, style) in enumerate(styles.items()):
        shift = (number - (len(styles) - 1) / 2 - 0.25) * step
        curve = data[data["curve"] == label].sort_values(x)
        means, seeds = curve[curve["kind"] == "mean"], curve[curve["kind"] == "seed"]
        _draw_means(panel, means, x, style, shift)
        beside = _sideways(panel, shift + step / 2)
        dots: dict[str, Any] = {"ms": 2.6, "color": style.color, "alpha": 0.6, "mew": 0, "zorder": 5}
        panel.plot(seeds[x].astype(float), seeds["acc_percent"], "o", transform=panel.transData + beside, **dots)
        lost = curve[curve["kind"] == "diverged"]
        crosses: dict[str, Any] = {"ms": 4.5, "mew": 1.2, "color": style.color, "zorder": 6}
        on_floor = panel.get_xaxis_transform() + beside
        panel.plot(lost[x].astype(float), [0.03] * len(lost), "x", transform=on_floor, **crosses)
    if not data["curve"].isin(list(styles)).any():
        say_empty(panel)


def _draw_means(panel: Axes, means: pd.DataFrame, x: str, style: CurveStyle, shift_points: float) -> None:
    at, mean, low, high = means[x].astype(float), means["acc_percent"], means["low_percent"], means["high_percent"]
    place = panel.transData + _sideways(panel, shift_points)
    panel.plot(at, mean, **_look(style), zorder=4, transform=place)
    known = low.notna()
    panel.vlines(at[known], low[known], high[known], color=style.color, lw=0.9, zorder=3, transform=place)
    for ends in (low, high):
        panel.plot(at[known], ends[known], "_", ms=4.5, mew=0.9, color=style.color, zorder=3, transform=place)


def _look(style: CurveStyle) -> dict[str, Any]:
    fill = style.color if style.is_filled else "white"
    look = {"color": style.color, "linestyle": style.line, "marker": style.marker}
    return {**look, "markersize": 4.6, "markerfacecolor": fill}


def _sideways(panel: Axes, points: float) -> ScaledTranslation:
    return ScaledTranslation(points / 72.0, 0.0, panel.figure.dpi_scale_trans)


def _draw_published(panel: Axes, data: pd.DataFrame) -> None:
    looks = {"ViT": (BLUE, "o", "self-attention (ViT)"), "DeepViT": (VERMILLION, "s", "Re-attention (DeepViT)")}
    for model, (color, marker, label) in looks.items():
        curve = data[data["curve"] == model].sort_values("depth")
        depths = curve["depth"].astype(float)
        panel.plot(depths, curve["acc_percent"], color=color, marker=marker, markersize=4.6, label=label)
    set_x_axis(panel, "depth", sorted(data["depth"].unique()))
    panel.set_title("Published, ImageNet-1k")
    panel.set_ylabel("Top-1 accuracy (%)")
    panel.set_ylim(76.2, 81.4)
    legend = panel.legend(loc="lower right", title="single runs, no intervals", alignment="left")
    legend.get_title().set(color=MUTED, fontsize=7.0)


def _handles(data: pd.DataFrame, styles: Styles) -> list[Line2D]:
    """A line of the legend for each look; curves of several panels that look the same share one."""
    names: dict[str, list[str]] = {}
    for label, style in styles.items():
        if (data["curve"] == label).any():
            names.setdefault(style.name, []).append(label)
    handles = []
    for name, labels in names.items():
        text = f"{shorten(name, 56)} ({count_label(data, labels)})"
        handles.append(Line2D([], [], **_look(styles[labels[0]]), label=text))
    return handles


def _seed_handles(data: pd.DataFrame) -> list[Line2D]:
    handles = []
    if (data["kind"] == "seed").any():
        handles.append(Line2D([], [], linestyle="", marker="o", mew=0, color=MUTED, ms=2.6, label="one seed"))
    if (data["kind"] == "diverged").any():
        handles.append(Line2D([], [], linestyle="", marker="x", color=MUTED, ms=4.5, label="diverged, no accuracy"))
    return handles


def _add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend below all panels, so it never covers a number."""
    if handles:
        columns = legend_columns(handles, figure.get_figwidth())
        figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)


def _named_by_depth(cell: pd.Series, count: str, shift_points: float) -> LabelledPoint:
    """Cells of one depth and nearly one size share their number."""
    size, y = float(cell[count]), float(cell["acc_percent"])
    has_interval = pd.notna(cell["low_percent"])
    return LabelledPoint(
        x=size,
        y=y,
        low=float(cell["low_percent"]) if has_interval else y,
        high=float(cell["high_percent"]) if has_interval else y,
        shift_points=shift_points,
        text=str(cell["depth"]),
        group=(cell["depth"], round(math.log(size) * 20)),
    )
