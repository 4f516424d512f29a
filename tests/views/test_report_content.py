"""Texts of the page's tables: absent is a dash, long lists go on elsewhere, the environment is told once."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from orchestrator.views.report_content import (
    ABSENT,
    MAX_ROWS,
    cell_table,
    commits,
    cost,
    duration,
    environment,
    forecast_table,
    lost_table,
)
from orchestrator.views.table import summarize_cells
from tests.views.sweep_builder import make_table


def shown(table: pd.DataFrame) -> dict[str, str]:
    found = cell_table(summarize_cells(table))
    return dict(zip(found.headings, found.rows[0], strict=True))


def test_a_cell_shows_its_axes_its_price_and_its_interval() -> None:
    row = shown(make_table([{"seed": seed, "test_acc": acc} for seed, acc in enumerate([0.90, 0.92, 0.94])]))
    assert (row["depth"], row["attention"], row["parameters"], row["FLOPs"]) == ("12", "self", "1k", "2k")
    assert (row["seeds"], row["test acc. (%)"], row["sd"]) == ("3 of 3", "92.00", "2.00")
    assert row["95 % interval"] == "87.03 to 96.97"
    assert row["remarks"] == ""


def test_what_was_not_measured_is_a_dash() -> None:
    row = shown(
        make_table([{"state": "WAITING", "test_acc": None, "val_acc": None, "num_params": None, "flops": None}])
    )
    names = ("test acc. (%)", "95 % interval", "sd", "val. acc. (%)", "parameters", "FLOPs")
    assert {row[name] for name in names} == {ABSENT}
    assert (row["seeds"], row["remarks"]) == ("0 of 1", "1 missing")


def test_remarks_name_what_went_wrong() -> None:
    rows: list[dict[str, Any]] = [{"seed": 0, "device": "a"}, {"seed": 1, "device": "b"}]
    rows += [{"seed": 2, "state": "DIVERGED", "test_acc": None}, {"seed": 3, "state": "FAIL", "test_acc": None}]
    assert shown(make_table(rows))["remarks"] == "1 diverged, 1 failed, mixed devices"
    rows[1] = {"seed": 1, "device": "a", "num_packed": 2}
    assert shown(make_table(rows))["remarks"] == "1 diverged, 1 failed, seeds packed and alone"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"state": "DIVERGED", "diverged": "loss became nan"}, "loss became nan"),
        ({"state": "FAIL", "error": "out of memory", "num_epochs": 3}, "out of memory"),
        ({"state": "RUNNING", "num_epochs": 1}, "1 epoch so far"),
        ({"state": "RUNNING", "num_epochs": 0}, "started"),
        ({"state": "WAITING", "num_epochs": 2, "num_attempts": 1}, "stopped, 2 epochs so far"),
        ({"state": "WAITING", "num_epochs": 0, "num_attempts": 0}, "not started"),
        ({"state": "WAITING", "num_epochs": 0, "num_attempts": 1}, "stopped"),
    ],
)
def test_every_lost_trial_has_its_reason(content: dict[str, Any], reason: str) -> None:
    found = lost_table(make_table([{}, {"seed": 1, "test_acc": None, **content}]))
    assert [(row[1], row[2], row[3], row[4]) for row in found.rows] == [("1", content["state"], reason, "t1")]


def test_a_long_list_goes_on_in_the_files() -> None:
    rows = [{"seed": seed, "state": "WAITING", "test_acc": None} for seed in range(MAX_ROWS + 7)]
    found = lost_table(make_table(rows))
    assert (len(found.rows), found.num_more) == (MAX_ROWS, 7)


def test_the_environment_is_told_once_with_counts() -> None:
    rows = [
        {"seed": seed, "host": "a" if seed else "b", "git_commit": "f00", "git_dirty": not seed} for seed in range(3)
    ]
    found = dict(environment(make_table(rows)))
    assert found["Host"] == [("a", 2), ("b", 1)]
    assert found["Git commit"] == [("f00", 2), ("f00 with uncommitted changes", 1)]
    assert found["Device"] == [("cpu", 3)]
    assert "Command" not in found
    assert environment(make_table([{"state": "RUNNING"}])) == []
    assert commits(make_table(rows)) == ["f00"]


def test_the_price_is_the_sum_over_trials() -> None:
    rows = [{"seed": seed, "wall_time_s": 100.0, "peak_memory_mib": 10.0 * seed} for seed in range(3)]
    assert cost(make_table(rows)) == (
        "3 trials took 5 min 0 s together, one after the other; the largest needed 20 MiB of memory."
    )
    assert cost(make_table([{"state": "WAITING"}])) == ""


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (59.9, "60 s"), (125, "2 min 5 s"), (7325, "2 h 2 min")])
def test_a_time_takes_the_units_that_matter(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_was_expected_stands_beside_what_was_measured() -> None:
    rows: list[dict[str, Any]] = [
        {"seed": seed, "predicted_time_s": 100.0, "train_time_s": took} for seed, took in enumerate([110.0, 130.0])
    ]
    rows.append({"seed": 2, "predicted_time_s": None, "train_time_s": 1e6})
    (row,) = forecast_table(make_table(rows)).rows
    assert row[1:] == ("2", "1 min 40 s", "2 min 0 s", "1.20", ABSENT, ABSENT)
    on_gpu = {"predicted_time_s": 10.0, "train_time_s": 10.0, "predicted_memory_mib": 2000.0, "peak_memory_mib": 2100.0}
    (row,) = forecast_table(make_table([on_gpu])).rows
    assert row[-2:] == ("2,000", "2,100")
    rough = [{"seed": 0, "is_predicted_roughly": True, **on_gpu}, {"seed": 1, "is_predicted_roughly": False, **on_gpu}]
    (row,) = forecast_table(make_table(rough)).rows
    assert row[2] == "~10 s"
    packed = {"num_packed": 3, "predicted_time_s": 10.0, "train_time_s": 25.0, "predicted_memory_mib": 2000.0}
    alone, together = forecast_table(make_table([on_gpu, packed])).rows
    assert alone[0] == "depth 12, self"
    assert together == ("depth 12, self, 3 seeds in one pass", "1", "10 s", "25 s", ABSENT, ABSENT, ABSENT)
    assert forecast_table(make_table([{"seed": 0}])).rows == ()
