"""Learning curves: a column a curve, means over finished trials, diverged ones marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from orchestrator.views.figure_data import learning_curve_data
from orchestrator.views.plots_epochs import plot_learning_curves
from orchestrator.views.table import read_epochs
from tests.views.sweep_builder import SweepBuilder, build_sweep, diverged


@pytest.fixture
def sweep(tmp_path: Path) -> SweepBuilder:
    sweep = build_sweep(tmp_path, {"depth": [12, 24], "attention": ["self", "reattention"]}, seeds=2)
    for number, trial in enumerate(sweep.trials):
        sweep.train(trial, [0.1 + number / 100, 0.5, 0.7])
        sweep.finish(trial)
    return sweep


def test_a_column_is_a_curve_and_a_row_a_metric(sweep: SweepBuilder) -> None:
    figure = plot_learning_curves(learning_curve_data(read_epochs(sweep.results, "depth_sweep")))
    assert [panel.get_title("left") for panel in figure.axes] == ["self", "", "", "reattention", "", ""]
    labels = [panel.get_ylabel() for panel in figure.axes[:3]]
    assert labels == ["Train loss (nats)", "Val. loss (nats)", "Val. accuracy (%)"]
    assert figure.axes[0].get_ylim() == figure.axes[3].get_ylim()


def test_lines_are_the_numbers_of_the_data(sweep: SweepBuilder) -> None:
    epochs = read_epochs(sweep.results, "depth_sweep")
    data = learning_curve_data(epochs)
    panel = plot_learning_curves(learning_curve_data(epochs)).axes[2]
    ours = data[data["curve"] == "self"]
    expected = {
        tuple(rows["val_acc_percent"])
        for kind, key in (("mean", "cell_id"), ("seed", "trial_id"))
        for _, rows in ours[ours["kind"] == kind].groupby(key)
    }
    assert {tuple(np.asarray(line.get_ydata())) for line in panel.lines} == expected


def test_a_deeper_cell_is_darker(sweep: SweepBuilder) -> None:
    legend = plot_learning_curves(learning_curve_data(read_epochs(sweep.results, "depth_sweep"))).legends[0]
    handles = {text.get_text(): handle for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)}
    colors = [handles[depth].get_color() for depth in ("12", "24")]  # type: ignore[union-attr]
    assert sum(int(colors[0][n : n + 2], 16) for n in (1, 3, 5)) > sum(int(colors[1][n : n + 2], 16) for n in (1, 3, 5))
    assert legend.get_title().get_text() == "Depth (transformer blocks)"


def test_a_diverged_trial_ends_in_a_cross_and_sets_no_limits(tmp_path: Path, sweep: SweepBuilder) -> None:
    lost = build_sweep(tmp_path, {"depth": [12, 48], "attention": ["self"]}, seeds=2, name="lost")
    lost.train(lost.trials[2], [-30.0])  # a validation loss of 31.2
    lost.finish(lost.trials[2], diverged(lost.trials[2]))
    figure = plot_learning_curves(learning_curve_data(read_epochs(tmp_path, "lost")))
    loss = figure.axes[1]
    assert [line.get_marker() for line in loss.lines].count("x") == 1
    assert loss.get_ylim()[1] < 2.0


def test_a_metric_that_nobody_measured_has_no_row(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, {"depth": [12]}, seeds=1)
    sweep.train(sweep.trials[0], [None, None])
    figure = plot_learning_curves(learning_curve_data(read_epochs(tmp_path, "depth_sweep")))
    assert [panel.get_ylabel() for panel in figure.axes] == ["Train loss (nats)"]


def test_no_epochs_are_said_to_be_none(tmp_path: Path) -> None:
    build_sweep(tmp_path, {"depth": [12]})
    figure = plot_learning_curves(learning_curve_data(read_epochs(tmp_path, "depth_sweep")))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no finished epoch yet"]
