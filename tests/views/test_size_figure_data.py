"""What size buys: cells of equal size at several depths, and accuracy against the width."""

from __future__ import annotations

from typing import Any

import pandas as pd

from orchestrator.views.size_figure_data import accuracy_vs_embed_dim_data, equal_size_data
from orchestrator.views.table import summarize_cells
from tests.views.sweep_builder import make_table


def cells(rows: list[dict[str, Any]], axes: tuple[str, ...] = ("depth", "attention", "embed_dim")) -> pd.DataFrame:
    full = [{**row, "cell_id": f"{row}", "seed": seed} for row in rows for seed in (0, 1)]
    return summarize_cells(make_table(full, axes))


def test_cells_within_two_percent_form_one_class() -> None:
    found = equal_size_data(
        cells(
            [
                {"depth": 4, "num_params": 1000, "embed_dim": 64},
                {"depth": 8, "num_params": 1019, "embed_dim": 48},
                {"depth": 16, "num_params": 1021, "embed_dim": 32},
                {"depth": 8, "num_params": 1000, "attention": "reattention"},
            ]
        ),
        "num_params",
    )
    assert list(zip(found["depth"], found["embed_dim"], strict=True)) == [(4, 64), (8, 48)]
    assert set(found["curve"]) == {"self, 1k parameters"}


def test_equal_flops_are_another_question() -> None:
    rows = [{"depth": 4, "num_params": 1, "flops": 50_000}, {"depth": 8, "num_params": 9, "flops": 50_100}]
    assert len(equal_size_data(cells(rows), "num_params")) == 0
    assert set(equal_size_data(cells(rows), "flops")["curve"]) == {"self, 50k FLOPs"}


def test_a_width_is_horizontal_and_depth_names_the_curve() -> None:
    rows = [{"depth": depth, "embed_dim": width} for depth in (4, 8) for width in (24, 48)]
    found = accuracy_vs_embed_dim_data(cells(rows))
    assert set(found["curve"]) == {"depth 4, self", "depth 8, self"}
    assert list(found["embed_dim"]) == [24, 48, 24, 48]
    assert len(accuracy_vs_embed_dim_data(cells(rows[:1]))) == 0
