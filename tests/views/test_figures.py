"""The figures of a report: each has its numbers, its caption and its formats, or a reason to be left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from orchestrator.views.figures import FIGURES, FigureKind, figures_of
from orchestrator.views.frames import Frames, read_frames
from tests.views.answered_sweep import build_answered
from tests.views.sweep_builder import build_sweep
from tests.views.test_plots import boxes_overlap, with_agg

NO_EQUALS = {"equal_params", "equal_flops"}
BY_WIDTH = {"accuracy_vs_embed_dim", "similar_blocks_vs_embed_dim"}


def names(found: list[tuple[FigureKind, Any]]) -> set[str]:
    return {kind.name for kind, _ in found}


def reasons(found: list[tuple[FigureKind, str]]) -> dict[str, str]:
    return {kind.name: reason for kind, reason in found}


@pytest.fixture(scope="module")
def by_width(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Cells of three widths, some of them equally large at two depths."""
    axes: dict[str, Any] = {"depth": [4, 16], "attention": ["self", "reattention"], "embed_dim": [24, 48, 96]}
    sweep = build_answered(tmp_path_factory.mktemp("widths"), axes, seeds=2, num_images=40)
    return read_frames(sweep.results, sweep.name)


def test_the_page_about_the_report_lists_every_figure_in_its_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE)
    assert listed == [(kind.name, kind.title) for kind in FIGURES]


Found = tuple[list[tuple[FigureKind, pd.DataFrame]], list[tuple[FigureKind, str]]]


@pytest.fixture(scope="module")
def full(frames: Frames) -> Found:
    return figures_of(frames)


@pytest.fixture(scope="module")
def wide(by_width: Frames) -> Found:
    return figures_of(by_width)


def test_every_figure_of_a_full_sweep_is_drawn_but_those_of_the_width(full: Found) -> None:
    drawn, left_out = full
    assert names(left_out) == NO_EQUALS | BY_WIDTH
    assert names(drawn) | names(left_out) == {kind.name for kind in FIGURES}
    assert len({kind.name for kind in FIGURES}) == len({kind.title for kind in FIGURES}) == len(FIGURES)
    assert reasons(left_out)["accuracy_vs_embed_dim"] == "the embedding dimension does not vary in this sweep."
    assert "`match_params`" in reasons(left_out)["equal_params"]


@pytest.mark.slow
def test_nothing_covers_anything_and_axes_are_named(frames: Frames, by_width: Frames, full: Found, wide: Found) -> None:
    for source, found in ((frames, full), (by_width, wide)):
        for kind, data in found[0]:
            if source is by_width and kind.name not in NO_EQUALS | BY_WIDTH:
                continue
            figure = kind.plot(data)
            assert isinstance(figure, Figure)
            assert boxes_overlap(with_agg(figure)) == [], kind.name
            labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
            assert any(text for pair in labels for text in pair), kind.name


def test_widths_and_equal_sizes_are_drawn_where_they_are(wide: Found) -> None:
    drawn, left_out = wide
    assert names(drawn) >= BY_WIDTH | {"equal_params"}
    data = {kind.name: data for kind, data in drawn}
    assert set(data["accuracy_vs_embed_dim"]["embed_dim"]) == {24, 48, 96}
    sizes = data["equal_params"].groupby("curve")["num_params"]
    assert (sizes.max() <= 1.02 * sizes.min()).all()
    assert (data["equal_params"].groupby("curve")["depth"].nunique() > 1).all()
    assert names(left_out) <= NO_EQUALS


def test_every_drawn_figure_has_a_caption_that_says_how_many(full: Found) -> None:
    for kind, data in full[0]:
        caption = kind.caption(data)
        assert caption.endswith("."), kind.name
        assert "6 seeds" in caption, kind.name


def test_diagnostics_stand_beside_their_untrained_and_shuffled_baselines(full: Found) -> None:
    data = {kind.name: data for kind, data in full[0]}
    for name in ("similar_blocks_vs_depth", "map_similarity", "token_similarity", "theta_and_batchnorm"):
        assert {"trained", "untrained"} <= set(data[name]["moment"]), name
    assert "shuffled" in set(data["map_similarity"]["moment"])
    for name in ("similarity_heat_map_softmax", "similarity_heat_map_map"):
        assert {"raw, untrained", "raw, images shuffled", "centred, trained"} <= set(data[name]["panel"])
    assert set(data["feature_similarity"]["panel"]) == {"trained", "untrained"}


def test_published_values_stand_only_where_they_are_confirmed(full: Found, wide: Found) -> None:
    confirmed = {"accuracy_vs_depth", "similar_blocks_vs_depth"}
    for found in (full, wide):
        for kind, data in found[0]:
            if "source" in data.columns:
                is_published = data["source"].str.startswith("published").any()
                assert bool(is_published) == (kind.name in confirmed), kind.name
                assert ("another" in kind.caption(data)) == (kind.name in confirmed), kind.name


def test_trials_without_probes_leave_the_diagnostics_out_and_say_why(tmp_path: Path) -> None:
    sweep = build_answered(tmp_path, {"depth": [4, 8]}, seeds=2, num_images=40, has_probes=False)
    drawn, left_out = figures_of(read_frames(sweep.results, sweep.name))
    assert names(drawn) == {"accuracy_vs_depth", "accuracy_vs_params", "accuracy_vs_flops", "learning_curves"}
    told = reasons(left_out)
    assert told["token_similarity"].startswith("no finished trial of this sweep has probes")
    assert told["deltas_vs_depth"] == "only one curve is there, so nothing is compared."
    assert all(reason.endswith(".") for reason in told.values())


def test_self_attention_alone_has_no_theta(tmp_path: Path) -> None:
    sweep = build_answered(tmp_path, {"depth": [4, 8]}, seeds=2, num_images=40)
    told = reasons(figures_of(read_frames(sweep.results, sweep.name))[1])
    assert told["theta_and_batchnorm"] == "no attention of this sweep mixes heads or normalises maps."


def test_a_sweep_that_has_not_begun_draws_nothing(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, {"depth": [4, 8], "attention": ["self", "reattention"]})
    drawn, left_out = figures_of(read_frames(sweep.results, sweep.name))
    assert drawn == []
    assert reasons(left_out)["accuracy_vs_depth"] == "no trial has finished yet."
