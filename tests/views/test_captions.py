"""Captions state n, what the bars are, and what is not our own."""

from __future__ import annotations

from typing import Any

import pandas as pd

from orchestrator.views.captions import accuracy_caption, learning_caption, params_caption
from orchestrator.views.figure_data import accuracy_vs_depth_data, accuracy_vs_params_data
from orchestrator.views.table import summarize_cells
from tests.views.sweep_builder import make_table

ROWS: list[dict[str, Any]] = [{"depth": depth, "seed": seed} for depth in (12, 24) for seed in range(3)]


def captions(rows: list[dict[str, Any]]) -> tuple[str, str]:
    table = make_table(rows)
    cells = summarize_cells(table)
    return accuracy_caption(accuracy_vs_depth_data(cells, table)), params_caption(accuracy_vs_params_data(cells))


def test_captions_state_n_and_the_interval() -> None:
    for caption in captions(ROWS):
        assert "n = 3 seeds a cell" in caption
        assert "Student's 95 % intervals over seeds on one fixed test split" in caption
    assert "Dots are single seeds." in captions(ROWS)[0]
    uneven, _ = captions(ROWS[:-1])
    assert "n = 2 to 3 seeds a cell" in uneven


def test_the_published_panel_is_called_foreign_with_its_source() -> None:
    caption, _ = captions(ROWS)
    assert "published, ImageNet-1k, single runs, arXiv 2103.11886 README" in caption
    assert "no result of ours" in caption


def test_diverged_trials_are_counted() -> None:
    caption, _ = captions([*ROWS, {"depth": 24, "seed": 9, "state": "DIVERGED", "test_acc": None}])
    assert "1 diverged trial, which has no accuracy" in caption


def test_single_seeds_are_not_called_means() -> None:
    for caption in captions(ROWS[::3]):
        assert "n = 1 seed a cell: marks are single seeds, which have no interval." in caption
        assert "Student" not in caption


def test_what_all_curves_share_is_said_once() -> None:
    table = make_table([{"attention": name, "curve": name} for name in ("self", "reattention")])
    table.attrs["curves"] = {name: {"attention": name, "lr": "lr 0.1"} for name in ("self", "reattention")}
    assert "All curves: lr 0.1." in accuracy_caption(accuracy_vs_depth_data(summarize_cells(table), table))


def test_captions_of_empty_figures_say_so() -> None:
    accuracy, params = captions([{"state": "WAITING", "test_acc": None}])
    assert accuracy.startswith("No trial has finished yet.")
    assert params == "No trial has finished yet."
    assert learning_caption(pd.DataFrame()) == "No epoch has finished yet."
