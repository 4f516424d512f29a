"""Rows of epochs in, the figure of learning curves out: a column a curve, a row a metric, a colour a depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from orchestrator.record import State
from orchestrator.views.plots_axes import axis_title, say_empty, short_value
from orchestrator.views.plots_style import FULL_WIDTH_IN, MUTED, house_style, settle, shorten

METRICS: Mapping[str, str] = {
    "train_loss": "Train loss (nats)",
    "val_loss": "Val. loss (nats)",
    "val_acc_percent": "Val. accuracy (%)",
}
COLUMNS = 3
TITLE_LENGTHS = {1: 44, 2: 34, 3: 21}
"""Characters that fit above a panel, by the number of columns."""
Line = tuple[str, float, str, bool]
"""What one line is: its kind, its place on the colour axis, its cell or trial, and whether that diverged."""

MAX_NAMED = 8
"""Of more values of the colour axis, this many are named, evenly spaced."""


def plot_learning_curves(data: pd.DataFrame) -> Figure:
    """Loss on train and validation, and validation accuracy, by epoch: thin lines are trials, thick ones means over
    the COMPLETE trials of a cell.

    Trials that diverged are dotted and end in a cross; vertical limits follow the other trials. A metric that nobody
    measured has no row.

    Args:
        data: `learning_curve_data`.
    """
    curves = list(dict.fromkeys(data["curve"])) or [""]
    metrics = [name for name in METRICS if data[name].notna().any()] or ["train_loss"]
    colors = _ramp(data[data.attrs["x"]])
    with house_style():
        figure, panels = _grid(len(curves), len(metrics))
        for column, curve in enumerate(curves):
            for row, metric in enumerate(metrics):
                panel = panels[column][row]
                _draw(panel, data[data["curve"] == curve], metric, data.attrs["x"], colors)
                panel.set_ylim(*_limits(data, metric))
                _label(panel, METRICS[metric], curve if row == 0 else "", len(curves), column)
                if row == len(metrics) - 1:
                    panel.set_xlabel("Epoch")
                else:
                    panel.tick_params(labelbottom=False)
        if data.empty:
            say_empty(panels[0][0], "no finished epoch yet")
        else:
            _add_legend(figure, colors, data)
        return settle(figure)


def _grid(num_curves: int, num_metrics: int) -> tuple[Figure, list[list[Axes]]]:
    """Panels by curve and metric; more curves than fit side by side go on below."""
    columns = min(num_curves, COLUMNS)
    blocks = math.ceil(num_curves / columns)
    width = FULL_WIDTH_IN if columns > 1 else FULL_WIDTH_IN * 0.62
    figure = Figure(figsize=(width, 0.7 + blocks * (0.25 + 1.45 * num_metrics)), layout="constrained")
    panels = []
    for number in range(num_curves):
        block, column = divmod(number, columns)
        cells = [(block * num_metrics + row) * columns + column + 1 for row in range(num_metrics)]
        panels.append([figure.add_subplot(blocks * num_metrics, columns, cell) for cell in cells])
    return figure, panels


def _draw(panel: Axes, data: pd.DataFrame, metric: str, x: str, colors: Mapping[float, str]) -> None:
    width = 1.5 if len(colors) <= MAX_NAMED else 0.9
    for (kind, at, _, has_diverged), points in sorted(_find_lines(data, metric, x).items()):
        epochs, values = zip(*sorted(points), strict=True)
        color = colors[at]
        if kind == "mean":
            marker = "." if len(points) == 1 else None
            panel.plot(epochs, values, color=color, lw=width, marker=marker, zorder=3)
            continue
        line = (0, (1, 1.2)) if has_diverged else "-"
        panel.plot(epochs, values, color=color, lw=0.6, alpha=0.45, linestyle=line, zorder=2)
        if has_diverged:
            panel.plot(epochs[-1:], values[-1:], "x", color=color, ms=4.5, mew=1.2, zorder=5)


def _find_lines(data: pd.DataFrame, metric: str, x: str) -> dict[Line, list[tuple[float, float]]]:
    """The known points of each line, as epoch and value. Walks plain lists, which are quicker than small frames."""
    read = data.loc[
        data[metric].notna() & data[x].notna(), ["kind", x, "cell_id", "trial_id", "state", "epoch", metric]
    ]
    found: dict[Line, list[tuple[float, float]]] = {}
    for kind, at, cell, trial, state, epoch, value in zip(*(read[name].tolist() for name in read), strict=True):
        is_mean = kind == "mean"
        line = kind, float(at), cell if is_mean else trial, not is_mean and state == State.DIVERGED
        found.setdefault(line, []).append((float(epoch), float(value)))
    return found


def _limits(data: pd.DataFrame, metric: str) -> tuple[float, float]:
    """From trials that did not diverge, where there are any: one exploding loss must not flatten the others."""
    steady = data.loc[data["state"] != State.DIVERGED, metric].dropna()
    values = steady if not steady.empty else data[metric].dropna()
    if values.empty:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - pad, high + pad


def _label(panel: Axes, metric: str, title: str, num_curves: int, column: int) -> None:
    if title:
        panel.set_title(shorten(title, TITLE_LENGTHS[min(num_curves, COLUMNS)]))
    if column % COLUMNS == 0:
        panel.set_ylabel(metric)
    panel.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_locator(MaxNLocator(5))


def _ramp(values: pd.Series) -> dict[float, str]:
    """A colour for each value from light to dark, evenly spaced in rank; viridis without its palest fifth."""
    places = sorted(float(value) for value in values.dropna().unique())
    colormap = matplotlib.colormaps["viridis_r"]
    ranks = [0.5] if len(places) == 1 else [rank / (len(places) - 1) for rank in range(len(places))]
    return {place: to_hex(colormap(0.2 + 0.75 * rank)) for place, rank in zip(places, ranks, strict=True)}


def _add_legend(figure: Figure, colors: Mapping[float, str], data: pd.DataFrame) -> None:
    handles = [Line2D([], [], color=color, lw=1.8, label=short_value(value)) for value, color in colors.items()]
    if len(handles) > MAX_NAMED:
        handles = _thin_out(handles)
    if (data["kind"] == "seed").any():
        handles.append(Line2D([], [], color=MUTED, lw=0.6, label="one seed"))
    if (data["state"] == State.DIVERGED).any():
        handles.append(Line2D([], [], color=MUTED, lw=0.8, linestyle=(0, (1, 1.2)), marker="x", ms=4, label="diverged"))
    title = shorten(axis_title(data.attrs["x"]), 40)
    columns = len(handles) if len(handles) <= MAX_NAMED + 1 else math.ceil(len(handles) / 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title)


def _thin_out(handles: Sequence[Line2D]) -> list[Line2D]:
    keep = {round(rank * (len(handles) - 1) / (MAX_NAMED - 1)) for rank in range(MAX_NAMED)}
    return [handle for rank, handle in enumerate(handles) if rank in keep]
