"""The figure of differences draws the deltas and the pooled contrast of every pair, on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.views.answers import find_answers
from orchestrator.views.arms import Arm
from orchestrator.views.frames import Frames
from orchestrator.views.plots_deltas import MAX_PANELS, delta_caption, delta_data, plot_deltas
from orchestrator.views.stats import score_seeds


def test_marks_are_the_differences_in_points(frames: Frames) -> None:
    data = delta_data(frames.answers)
    figure = plot_deltas(data)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [f"{a} \N{MINUS SIGN} {b}" for a, b in
                      (("reattention", "self"), ("reattention", "mix_only"), ("mix_only", "self"))]  # fmt: skip
    for ax, (a, b) in zip(
        figure.axes, (("reattention", "self"), ("reattention", "mix_only"), ("mix_only", "self")), strict=True
    ):
        mine = data[(data["a"] == a) & (data["b"] == b)]
        heights = {line.get_marker(): np.asarray(line.get_ydata(), dtype=float) for line in ax.lines}
        assert heights["o"] == pytest.approx(mine.loc[mine["kind"] == "depth", "delta_points"].to_numpy())
        assert heights["D"] == pytest.approx(mine.loc[mine["kind"] == "pooled", "delta_points"].to_numpy())
    assert len({ax.get_ylim() for ax in figure.axes}) == 1


def test_the_caption_says_what_the_bars_are_over(frames: Frames) -> None:
    data = delta_data(frames.answers)
    assert "95 % intervals over seeds and test images" in delta_caption(data)
    assert "Diamond: pooled over depths." in delta_caption(data)


def test_many_pairs_are_drawn_in_part_and_single_depths_have_no_pooled_mark() -> None:
    arms = [Arm(f"k{n}", {"attention": f"k{n}"}, {4: score_seeds([0.5, 0.6])}, 0) for n in range(15)]
    data = delta_data(find_answers(arms))
    assert set(data["kind"]) == {"depth"}
    assert len(plot_deltas(data).axes) == MAX_PANELS
    assert f"Only the first {MAX_PANELS} of 14 pairs are drawn." in delta_caption(data)
    assert "seeds alone" in delta_caption(data)
