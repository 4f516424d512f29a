"""Frames from files: one row a trial in the order of the index, missing is missing; cells average only equals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ResultsError, UsageError
from orchestrator.views.stats import mean_interval
from orchestrator.views.table import CELL_TYPES, COLUMN_TYPES, read_epochs, read_table, summarize_cells
from tests.views.sweep_builder import build_sweep, make_provenance, make_record, make_table

AXES: dict[str, Any] = {"depth": [12, 24], "attention": ["self", "reattention"]}


def test_a_table_has_one_row_for_each_member_in_the_order_of_the_index(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, {**AXES, "lr": [1e-3, 2e-3]})
    sweep.finish(sweep.trials[5])
    table = read_table(tmp_path, "depth_sweep")
    assert list(table["trial_id"]) == [trial.trial_id for trial in sweep.trials]
    assert list(table["seed"]) == [trial.seed for trial in sweep.trials]
    assert set(table.columns) == {*COLUMN_TYPES, "lr"}
    assert list(table["lr"]) == [trial.train.lr for trial in sweep.trials]


def test_a_finished_trial_shows_its_record(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    trial = sweep.trials[4]
    sweep.finish(trial, make_record(trial, test_acc=0.875, provenance=make_provenance(host="far", git_dirty=True)))
    row = read_table(sweep.results, "depth_sweep").iloc[4]
    shown = {name: row[name] for name in ("state", "depth", "attention", "test_acc", "host", "git_dirty", "protocol")}
    assert shown == {
        "state": "COMPLETE",
        "depth": 12,
        "attention": "reattention",
        "test_acc": 0.875,
        "host": "far",
        "git_dirty": True,
        "protocol": 1,
    }
    assert row["versions"] == "orch 0.1.0, python 3.11.2, timm 1.0.31, torch 2.15.0"


def test_a_trial_that_never_started_has_nothing_that_looks_like_a_number(tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES)
    table = read_table(tmp_path, "depth_sweep")
    assert set(table["state"]) == {"WAITING"}
    measured = ["num_params", "flops", "val_acc", "test_acc", "test_loss", "wall_time_s", "peak_memory_mib"]
    assert table[[*measured, "num_test_images", "device", "embed_dim", "error", "diverged"]].isna().all(axis=None)
    assert list(table["depth"]) == [12] * 6 + [24] * 6


def test_epochs_without_a_validation_split_have_no_validation(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.train(sweep.trials[0], [None, None])
    epochs = read_epochs(tmp_path, "depth_sweep")
    assert len(epochs) == 2
    assert epochs[["val_acc", "val_loss"]].isna().all(axis=None)


def test_an_unknown_sweep_is_an_error_that_names_the_known_ones(tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES, name="this_one")
    with pytest.raises(UsageError, match=r"no sweep 'other'.*this_one"):
        read_table(tmp_path, "other")


def test_a_damaged_index_is_an_error(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.results.sweep("depth_sweep").trials_file.write_text("{")
    with pytest.raises(ResultsError, match=r"trials\.json"):
        read_table(tmp_path, "depth_sweep")


@pytest.mark.parametrize(
    ("axis", "values", "dtype"),
    [
        ("clip_grad", [None, 1.0], "float64"),
        ("patch_size", [2, 4], "Int64"),
        ("qkv_bias", [True, False], "boolean"),
        ("optimizer", ["adamw", "sgd"], "string"),
    ],
)
def test_an_axis_is_a_column_of_its_own_kind(tmp_path: Path, axis: str, values: list[Any], dtype: str) -> None:
    build_sweep(tmp_path, {axis: values}, seeds=1)
    column = read_table(tmp_path, "depth_sweep")[axis]
    assert column.dtype == dtype
    assert [None if pd.isna(value) else value for value in column] == values


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "depth": st.sampled_from([12, 24]),
            "attention": st.sampled_from(["self", "reattention"]),
            "state": st.sampled_from(["COMPLETE", "COMPLETE", "DIVERGED", "FAIL", "WAITING", "RUNNING"]),
            "test_acc": st.floats(0.0, 1.0),
            "val_acc": st.one_of(st.none(), st.floats(0.0, 1.0)),
            "protocol": st.sampled_from([1, 2]),
            "device": st.sampled_from(["cpu", "gpu"]),
        }
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40)
@given(rows=ROWS, data=st.data())
def test_the_order_of_trials_changes_no_summary(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    for number, row in enumerate(rows):
        row["trial_id"] = f"t{number}"
    shuffled = data.draw(st.permutations(rows))
    first, second = summarize_cells(make_table(rows)), summarize_cells(make_table(shuffled))
    order = ["cell_id"]
    pd.testing.assert_frame_equal(
        first.sort_values(order, ignore_index=True), second.sort_values(order, ignore_index=True), check_exact=True
    )


@settings(max_examples=40)
@given(rows=ROWS)
def test_every_trial_of_a_cell_is_counted_once(rows: list[dict[str, Any]]) -> None:
    cells = summarize_cells(make_table(rows))
    assert set(cells.columns) == set(CELL_TYPES)
    parts = ["n", "num_diverged", "num_failed", "num_missing", "num_other_protocol"]
    assert (cells[parts].sum(axis=1) == cells["num_trials"]).all()
    assert cells["num_trials"].sum() == len(rows)


@settings(max_examples=40)
@given(rows=ROWS)
def test_a_mean_holds_finished_trials_of_one_protocol(rows: list[dict[str, Any]]) -> None:
    for _, cell in summarize_cells(make_table(rows)).iterrows():
        mates = [row for row in rows if (row["depth"], row["attention"]) == (cell["depth"], cell["attention"])]
        complete = [row for row in mates if row["state"] == "COMPLETE"]
        newest = max((row["protocol"] for row in complete), default=None)
        accs = [row["test_acc"] for row in complete if row["protocol"] == newest]
        assert cell["n"] == len(accs)
        if not accs:
            assert pd.isna(cell["test_acc"])
            continue
        expected = mean_interval(accs)
        assert cell["test_acc"] == expected.mean
        assert pd.isna(cell["test_acc_low"]) == (len(accs) == 1)
        assert cell["is_mixed_device"] == (len({r["device"] for r in complete if r["protocol"] == newest}) > 1)


def test_a_cell_without_a_finished_trial_keeps_its_row(tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES)
    cells = summarize_cells(read_table(tmp_path, "depth_sweep"))
    assert list(cells["label"])[:2] == ["depth 12, self", "depth 12, reattention"]
    assert list(cells["n"]) == [0] * 4
    assert cells[["test_acc", "num_params", "protocol"]].isna().all(axis=None)


def test_a_sweep_without_members_is_an_empty_table(tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES, cells=[])
    table = read_table(tmp_path, "depth_sweep")
    assert len(table) == len(summarize_cells(table)) == len(read_epochs(tmp_path, "depth_sweep")) == 0
