"""The numbers behind the figures: only what was measured, in percent, on the axis that varies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator.views.captions import accuracy_caption, params_caption
from orchestrator.views.curve_choice import FEW_DRAWN_CURVES, MAX_DRAWN_CURVES, say_choice
from orchestrator.views.curves import Shared
from orchestrator.views.figure_data import (
    FEW_LEARNING_CURVES,
    MAX_LEARNING_CURVES,
    MAX_SEED_LINES,
    accuracy_vs_depth_data,
    accuracy_vs_params_data,
    find_curves,
    learning_curve_data,
)
from orchestrator.views.published import DEEPVIT_CURVE
from orchestrator.views.table import read_epochs, read_table, summarize_cells
from tests.views.sweep_builder import build_sweep, diverged, make_table

AXES: dict[str, Any] = {"depth": [12, 24], "attention": ["self", "reattention"]}


def accuracy(table: pd.DataFrame) -> pd.DataFrame:
    return accuracy_vs_depth_data(summarize_cells(table), table)


def test_means_and_seeds_are_the_finished_trials_in_percent() -> None:
    data = accuracy(make_table([{"test_acc": acc, "seed": seed} for seed, acc in enumerate([0.90, 0.92, 0.94])]))
    mean = data[data["kind"] == "mean"].iloc[0]
    assert (mean["curve"], mean["depth"], mean["n"]) == ("self", 12, 3)
    assert mean["acc_percent"] == pytest.approx(92.0)
    assert mean["high_percent"] - 92.0 == pytest.approx(92.0 - mean["low_percent"])
    assert list(data.loc[data["kind"] == "seed", "acc_percent"]) == pytest.approx([90.0, 92.0, 94.0])


def test_a_diverged_trial_has_a_row_and_no_number() -> None:
    rows = [{"seed": 0}, {"seed": 1}, {"seed": 2, "state": "DIVERGED", "test_acc": None}]
    data = accuracy(make_table(rows))
    lost = data[data["kind"] == "diverged"]
    assert len(lost) == 1
    assert lost["acc_percent"].isna().all()
    assert list(data.loc[data["kind"] == "mean", "n"]) == [2]


def test_nothing_missing_is_drawn() -> None:
    rows = [{"depth": 24, "state": state, "test_acc": None} for state in ("WAITING", "RUNNING", "FAIL")]
    data = accuracy(make_table([{"depth": 12}, *rows]))
    ours = data[data["kind"] != "published"]
    assert list(ours["depth"]) == [12]


def test_a_single_seed_is_its_own_mean_and_has_no_dot() -> None:
    data = accuracy(make_table([{"test_acc": 0.5}]))
    ours = data[data["kind"] != "published"]
    assert list(ours["kind"]) == ["mean"]
    assert ours["low_percent"].isna().all()


def test_the_published_points_stand_beside_a_depth_axis_as_they_are() -> None:
    data = accuracy(make_table([{"depth": 12}, {"depth": 24}]))
    published = data[data["kind"] == "published"]
    points = [(point.model, point.depth, point.top1_percent) for point in DEEPVIT_CURVE]
    assert list(zip(published["curve"], published["depth"], published["acc_percent"], strict=True)) == points
    assert published["source"].str.contains("arXiv 2103.11886").all()


def test_without_varying_depth_the_first_numeric_axis_is_horizontal(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, {"attention": ["self", "reattention"], "lr": [1e-3, 2e-3]}, seeds=1)
    for trial in sweep.trials:
        sweep.finish(trial)
    table = read_table(tmp_path, "depth_sweep")
    curves = find_curves(table)
    assert (curves.x, set(curves.label.values())) == ("lr", {"self", "reattention"})
    data = accuracy(table)
    assert set(data["lr"]) == {1e-3, 2e-3}
    assert "published" not in set(data["kind"])


def test_a_sweep_over_depth_alone_is_one_curve_named_by_its_attention() -> None:
    table = make_table([{"depth": 12}, {"depth": 24}], axes=["depth"])
    table.attrs["curves"] = {"self": {}}
    assert set(find_curves(table).label.values()) == {"self"}


def test_parameters_have_one_row_for_each_measured_cell() -> None:
    table = make_table([{"num_params": 10}, {"depth": 24, "state": "WAITING", "test_acc": None, "num_params": None}])
    data = accuracy_vs_params_data(summarize_cells(table))
    assert list(data["num_params"]) == [10]


def test_learning_curves_average_finished_trials_epoch_by_epoch(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, {"depth": [12]}, seeds=4)
    for trial, accs in zip(sweep.trials, ([0.2, 0.4], [0.4, 0.8], [0.9], [0.9]), strict=True):
        sweep.train(trial, accs)
    for trial in sweep.trials[:2]:
        sweep.finish(trial)
    sweep.finish(sweep.trials[2], diverged(sweep.trials[2]))
    data = learning_curve_data(read_epochs(tmp_path, "depth_sweep"))
    means = data[data["kind"] == "mean"]
    assert list(zip(means["epoch"], means["n"], strict=True)) == [(1, 2), (2, 2)]
    assert list(means["val_acc_percent"]) == pytest.approx([30.0, 60.0])
    assert (data["kind"] == "seed").sum() == 6
    assert data.attrs["left_out"] == []


def epochs_of(table: pd.DataFrame) -> pd.DataFrame:
    epochs = table.assign(epoch=pd.Series([1] * len(table), dtype="Int64"), train_loss=1.0, val_loss=1.0, val_acc=0.5)
    epochs.attrs = table.attrs
    return epochs


def test_many_trials_are_drawn_as_means_alone_and_many_curves_in_part() -> None:
    rows = [{"curve": f"c{number}", "attention": f"c{number}"} for number in range(MAX_LEARNING_CURVES + 1)]
    data = learning_curve_data(epochs_of(make_table(rows)))
    assert data["curve"].nunique() == MAX_LEARNING_CURVES
    assert data.attrs["left_out"] == [f"{say_choice(12, 13)} epochs.csv has all."]
    many = learning_curve_data(epochs_of(make_table([{"seed": seed} for seed in range(MAX_SEED_LINES + 1)])))
    assert set(many["kind"]) == {"mean"}
    assert "too many" in many.attrs["left_out"][0]


def test_of_very_many_curves_the_first_are_drawn_and_the_caption_says_so() -> None:
    names = [f"c{number}" for number in range(MAX_DRAWN_CURVES + 1)]
    table = make_table([{"curve": name, "attention": name} for name in names])
    cells = summarize_cells(table)
    for data, caption in (
        (accuracy_vs_depth_data(cells, table), accuracy_caption),
        (accuracy_vs_params_data(cells), params_caption),
    ):
        assert [name for name in dict.fromkeys(data["curve"]) if name in names] == names[:FEW_DRAWN_CURVES]
        assert caption(data).endswith(f"{say_choice(FEW_DRAWN_CURVES, MAX_DRAWN_CURVES + 1)} cells.csv has all.")
    assert learning_curve_data(epochs_of(table))["curve"].nunique() == FEW_LEARNING_CURVES


def test_copies_of_a_frame_share_what_belongs_to_no_row() -> None:
    table = make_table([{"depth": 12}])
    table.attrs["curves"] = Shared(table.attrs["curves"])
    assert table.iloc[:1].attrs["curves"] is table.attrs["curves"]
