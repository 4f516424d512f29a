"""Heat maps: runs of one colour cover exactly what is there, and all is vector."""

from __future__ import annotations

import matplotlib
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.colors import to_rgba
from matplotlib.patches import PathPatch

from orchestrator.views.frames import Frames
from orchestrator.views.plots_heat_maps import COLORMAP, NUM_STEPS, find_runs, plot_heat_maps
from orchestrator.views.plots_style import figure_files
from orchestrator.views.probe_figure_data import heat_map_data


@given(arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(-1, 3)))
def test_runs_cover_every_entry_once_with_its_colour(steps: np.ndarray) -> None:
    painted = np.full(steps.shape, -1)
    for step, runs in find_runs(steps).items():
        for row, start, end in runs:
            assert (painted[row, start:end] == -1).all()
            painted[row, start:end] = step
    assert (painted == steps).all()


def test_colours_are_the_values_and_panels_share_one_scale(frames: Frames) -> None:
    data = heat_map_data(frames.probed, "softmax")
    figure = plot_heat_maps(data)
    low = min(0.0, float(data["similarity"].min()))
    untrained = data[(data["panel"] == "raw, untrained") & (data["curve"] == "self")]
    expected = {round((value - low) / (1.0 - low) * NUM_STEPS) for value in untrained["similarity"]}
    panel = figure.axes[1]
    drawn = {tuple(np.round(to_rgba(patch.get_facecolor()), 4)) for patch in panel.patches}
    assert drawn == {tuple(np.round(matplotlib.colormaps[COLORMAP](step / NUM_STEPS), 4)) for step in expected}
    assert all(isinstance(patch, PathPatch) for patch in panel.patches)


def test_the_drawing_holds_no_picture(frames: Frames) -> None:
    files = figure_files(plot_heat_maps(heat_map_data(frames.probed, "map")), "heat")
    assert b"<image" not in files["svg"]
    assert b"data:" not in files["svg"]
    assert b"/Subtype /Image" not in files["pdf"]
