"""Figures of the diagnostics draw the numbers of their frames: a colour a curve, a line a moment."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from orchestrator.views.frames import Frames
from orchestrator.views.plots_probes import Panel, plot_block_curves, plot_similar_blocks
from orchestrator.views.plots_style import BLUE, VERMILLION, style_curves
from orchestrator.views.probe_figure_data import block_curve_data, similar_blocks_data

PANELS = (
    Panel("token_cosine.raw", "Cosine", "Mean cosine"),
    Panel("skip_acc_drop", "Skipped", "Accuracy lost"),
    Panel("no_such_metric", "Nothing", "Nothing"),
)


def lines_of(panel: Axes, color: str, *, is_solid: bool) -> list[Line2D]:
    return [line for line in panel.lines if line.get_color() == color and (line.get_linestyle() == "-") == is_solid]


def test_lines_are_the_values_by_block(frames: Frames) -> None:
    data = block_curve_data(frames.probed, [panel.metric for panel in PANELS])
    figure = plot_block_curves(data, PANELS)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["Cosine", "Skipped"]
    for color, curve in ((BLUE, "self"), (VERMILLION, "reattention")):
        for is_solid, moment in ((True, "trained"), (False, "untrained")):
            (line,) = lines_of(figure.axes[0], color, is_solid=is_solid)
            mine = data[(data["metric"] == "token_cosine.raw") & (data["curve"] == curve) & (data["moment"] == moment)]
            assert np.asarray(line.get_ydata()) == pytest.approx(mine["value"].to_numpy())
    assert lines_of(figure.axes[1], BLUE, is_solid=False) == [], "an untrained network has no block worth skipping"


def test_the_legend_names_curves_and_moments(frames: Frames) -> None:
    data = block_curve_data(frames.probed, ["token_cosine.raw"])
    texts = [text.get_text() for text in plot_block_curves(data, PANELS[:1]).legends[0].get_texts()]
    assert texts == ["self", "reattention", "mix_only", "trained", "untrained"]


def test_shares_are_drawn_for_each_map_and_rule_and_the_published_apart(frames: Frames) -> None:
    data = similar_blocks_data(frames.probed, "depth")
    figure = plot_similar_blocks(data)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert len(titles) == 5
    assert titles[-1] == "Published, ImageNet-1k"
    published = [sorted(np.asarray(line.get_ydata(), dtype=float)) for line in figure.axes[-1].lines]
    assert published == [sorted([100 * 5 / 16, 100 * 11 / 24, 100 * 15 / 32]), [0.0, 0.0, 0.0]]
    (line,) = lines_of(figure.axes[0], BLUE, is_solid=True)
    assert list(np.asarray(line.get_ydata())) == [50.0] * 4
    assert all(ax.get_ylabel() == "Similar blocks (% of depth)" for ax in figure.axes)


def test_a_curve_has_one_look_in_every_figure(frames: Frames) -> None:
    both = [plot_block_curves(block_curve_data(frames.probed, [metric]), [Panel(metric, "", "")])
            for metric in ("token_cosine.raw", "theta_identity_distance")]  # fmt: skip
    looks = [{str(h.get_label()): h.get_color() for h in figure.legends[0].legend_handles} for figure in both]
    assert set(looks[1]) == set(looks[0]) - {"self"}
    assert looks[1].items() <= looks[0].items()


def test_curves_of_one_attention_are_told_apart_and_others_keep_their_colours() -> None:
    parts = {f"{name}, {init}": {"attention": name, "init": init} for name in ("self", "b") for init in ("x", "y", "z")}
    rows = [{"curve": curve, "metric": "m", "moment": "trained", "block_idx": 0, "value": 0.5} for curve in parts]
    data = pd.DataFrame(rows).assign(low=np.nan, high=np.nan)
    data.attrs = {"parts": parts}
    handles = plot_block_curves(data, [Panel("m", "", "")]).legends[0].legend_handles[: len(parts)]
    colors = [handle.get_color() for handle in handles]
    assert len(set(colors)) == len(parts)
    assert colors[0] == BLUE
    assert colors[3] == style_curves(parts)["b, x"].color
