"""Limits, ticks and room between curves."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from orchestrator.views.plots_axes import (
    accuracy_limits,
    axis_title,
    count_label,
    label_counts,
    label_once,
    set_x_axis,
    short_count,
    spacing,
)


def panel() -> Axes:
    return Figure(figsize=(3.4, 2.6)).add_subplot()


def points(accs: list[float], half: float | None = None, n: int = 3) -> pd.DataFrame:
    ends = (None, None) if half is None else (-half, half)
    rows = [{"acc_percent": acc, "n": n, "low": acc + (ends[0] or 0), "high": acc + (ends[1] or 0)} for acc in accs]
    data = pd.DataFrame(rows).rename(columns={"low": "low_percent", "high": "high_percent"})
    if half is None:
        data[["low_percent", "high_percent"]] = float("nan")
    return data


@settings(max_examples=50)
@given(accs=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=9), half=st.none() | st.floats(0.0, 60.0))
def test_every_mean_is_inside_the_limits_and_limits_stay_near_percentages(
    accs: list[float], half: float | None
) -> None:
    low, high = accuracy_limits(points(accs, half))
    assert low <= min(accs)
    assert max(accs) <= high
    assert high - low >= 1.0
    assert -0.1 * (high - low) <= low
    assert high <= 100.0 + 0.1 * (high - low)


def test_ordinary_intervals_are_shown_whole_and_those_over_two_seeds_are_cut() -> None:
    whole = accuracy_limits(points([80.0, 82.0], half=4.0, n=3))
    assert whole[0] <= 76.0
    assert whole[1] >= 86.0
    cut = accuracy_limits(points([80.0, 82.0], half=18.0, n=2))
    assert cut[0] > 70.0
    assert cut[1] < 92.0


def test_ticks_stand_at_every_place_or_at_round_values_where_they_would_touch() -> None:
    few, many = panel(), panel()
    set_x_axis(few, "depth", [4, 6, 8, 12, 16, 24, 32])
    set_x_axis(many, "depth", list(range(1, 33)))
    assert list(few.get_xticks()) == [4, 6, 8, 12, 16, 24, 32]
    assert len(many.get_xticks()) < 12
    assert few.get_xlim()[0] < 4 < 32 < few.get_xlim()[1]


def test_rates_over_decades_are_drawn_in_logarithms_and_depths_never() -> None:
    rates, depths = panel(), panel()
    set_x_axis(rates, "train.lr", [1e-4, 1e-3, 1e-2])
    set_x_axis(depths, "depth", [1, 64])
    assert (rates.get_xscale(), rates.get_xlabel()) == ("log", "Peak learning rate")
    assert depths.get_xscale() == "linear"


def test_curves_of_neighbouring_places_do_not_mix() -> None:
    axes = panel()
    set_x_axis(axes, "depth", [12, 16, 24, 32])
    for num_curves in (1, 2, 6):
        assert num_curves * spacing(axes, [12, 16, 24, 32], num_curves) <= 23.0
    assert spacing(axes, [12], 3) > 0


def test_counts_are_short_and_logarithmic_only_over_a_wide_range() -> None:
    narrow, wide = panel(), panel()
    label_counts(narrow, pd.Series([100_000, 200_000]))
    label_counts(wide, pd.Series([100_000, 2_000_000]))
    assert (narrow.get_xscale(), wide.get_xscale()) == ("linear", "log")
    assert [short_count(count) for count in (950, 20_000, 1_250_000, 3e9)] == ["950", "20k", "1.25M", "3G"]


def test_n_is_a_range_where_cells_differ() -> None:
    data = pd.DataFrame({"curve": ["a", "a", "b", "a"], "n": pd.Series([3, 2, 5, None], dtype="Int64")})
    assert (count_label(data, ["a"]), count_label(data, ["b"]), count_label(data, ["c"])) == (
        "n = 2 to 3",
        "n = 5",
        "n = 0",
    )


@pytest.mark.parametrize(("axis", "title"), [("model.depth", "Depth (transformer blocks)"), ("mlp_ratio", "mlp_ratio")])
def test_an_axis_says_its_unit_where_it_is_known(axis: str, title: str) -> None:
    assert axis_title(axis) == title


@pytest.mark.parametrize(
    ("num_panels", "sides", "feet"),
    [
        (1, [True], [True]),
        (3, [True, False, True], [False, True, True]),
        (4, [True, False] * 2, [False] * 2 + [True] * 2),
    ],
)
def test_panels_of_one_scale_are_labelled_at_the_outer_edges(
    num_panels: int, sides: list[bool], feet: list[bool]
) -> None:
    panels = [Figure().add_subplot() for _ in range(num_panels)]
    for panel in panels:
        panel.set(xlabel="depth", ylabel="accuracy")
    label_once(panels, 2)
    assert [bool(panel.get_ylabel()) for panel in panels] == sides
    assert [bool(panel.get_xlabel()) for panel in panels] == feet
    assert [panel.yaxis.get_tick_params()["labelleft"] for panel in panels] == sides
    assert [panel.xaxis.get_tick_params()["labelbottom"] for panel in panels] == feet
