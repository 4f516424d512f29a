"""The frames of a sweep in; the figures of its report out: what each draws, what stands below it, and why one that has
nothing to draw is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from orchestrator.probe_catalog import MAP_KINDS
from orchestrator.views import captions, figure_data, probe_captions, probe_figure_data, size_figure_data
from orchestrator.views.frames import Frames
from orchestrator.views.plots import (
    plot_accuracy_curves,
    plot_accuracy_vs_cost,
)
from orchestrator.views.plots_deltas import delta_caption, delta_data, plot_deltas
from orchestrator.views.plots_epochs import plot_learning_curves
from orchestrator.views.plots_heat_maps import plot_heat_maps
from orchestrator.views.plots_probes import Panel, plot_block_curves, plot_similar_blocks


@dataclass(frozen=True)
class FigureKind:
    """One figure of the report."""

    name: str
    """Of its files and its anchor on the page."""
    title: str
    data: Callable[[Frames], pd.DataFrame]
    """Exactly the numbers drawn."""
    plot: Callable[[pd.DataFrame], Figure]
    caption: Callable[[pd.DataFrame], str]
    reason: Callable[[Frames], str]
    """Why it is left out, in a sentence; asked only where `is_drawn` is false."""
    is_drawn: Callable[[pd.DataFrame], bool] = lambda data: not data.empty
    """Whether there is something to draw."""
    needs_answers: bool = False
    """Whether its numbers wait for the statistics, which take longest."""


Drawn = tuple[FigureKind, pd.DataFrame]
LeftOut = tuple[FigureKind, str]


def figures_of(frames: Frames) -> tuple[list[Drawn], list[LeftOut]]:
    """The figures that have something to draw, each with its data, and the others, each with the reason."""
    found = sorted(find_figures(frames), key=lambda one: FIGURES.index(one[0]))
    drawn = [(kind, data) for kind, data in found if isinstance(data, pd.DataFrame)]
    return drawn, [(kind, reason) for kind, reason in found if isinstance(reason, str)]


def find_figures(frames: Frames) -> Iterator[Drawn | LeftOut]:
    """Every figure with its data, or with the reason for which it is left out, as soon as it is found."""
    for kind in sorted(FIGURES, key=lambda kind: kind.needs_answers):
        data = kind.data(frames)
        yield (kind, data) if kind.is_drawn(data) else (kind, kind.reason(frames))


def _unfinished(frames: Frames) -> str:
    return "no trial has finished yet." if (frames.cells["n"] == 0).all() else "no size is known."


def _unprobed(frames: Frames) -> str:
    if (frames.cells["n"] == 0).all():
        return "no trial has finished yet."
    return "no finished trial of this sweep has probes; trials trained before there were probes, or without, have none."


def _no_value(what: str, frames: Frames) -> str:
    return _unprobed(frames) if frames.probed.is_empty else what


def _no_width(frames: Frames) -> str:
    if frames.cells["embed_dim"].nunique() < 2:
        return "the embedding dimension does not vary in this sweep."
    return "no trial has finished yet." if (frames.cells["n"] == 0).all() else _unprobed(frames)


def _no_equals(what: str, frames: Frames) -> str:
    if (frames.cells["n"] == 0).all():
        return "no trial has finished yet."
    return f"no two depths of one attention have equal {what} here; `match_params` in a spec makes such cells."


def _no_pairs(frames: Frames) -> str:
    if len(frames.answers.arms) < 2:
        return "only one curve is there, so nothing is compared."
    return "no two curves that are compared have a finished cell of the same depth."


def _by_block(name: str, title: str, kind: str, panels: tuple[Panel, ...], missing: str) -> FigureKind:
    metrics = [panel.metric for panel in panels]
    return FigureKind(
        name,
        title,
        lambda frames: probe_figure_data.block_curve_data(frames.probed, metrics),
        partial(plot_block_curves, panels=panels),
        partial(probe_captions.block_caption, kind),
        partial(_no_value, missing),
    )


def _heat_map(map_kind: str) -> FigureKind:
    return FigureKind(
        f"similarity_heat_map_{map_kind}",
        f"Similarity of every two blocks: {MAP_KINDS[map_kind]}",
        lambda frames: probe_figure_data.heat_map_data(frames.probed, map_kind),
        plot_heat_maps,
        partial(probe_captions.heat_map_caption, map_kind),
        partial(_no_value, "no attention here gave its maps to the probes."),
    )


def _equal_size(name: str, count: str, what: str) -> FigureKind:
    return FigureKind(
        name,
        f"Accuracy against depth at equal {what}",
        lambda frames: size_figure_data.equal_size_data(frames.cells, count),
        plot_accuracy_curves,
        lambda data: captions.equal_size_caption(data, what),
        partial(_no_equals, what),
    )


UNIT = (0.0, 1.0)
SIMILARITY_PANELS = (
    Panel("adjacent.softmax.patch.raw", "Softmax map, raw", "Cosine with the block before", UNIT),
    Panel("adjacent.softmax.patch.centred", "Softmax map, centred", "Cosine with the block before"),
    Panel("adjacent.map.patch.raw", "Map that multiplies V, raw", "Cosine with the block before"),
    Panel("adjacent.map.patch.centred", "Map that multiplies V, centred", "Cosine with the block before"),
    Panel("adjacent.softmax.class.raw", "Softmax map, class token, raw", "Cosine with the block before", UNIT),
    Panel("adjacent.softmax.class.centred", "Softmax map, class token, centred", "Cosine with the block before"),
)
TOKEN_PANELS = (
    Panel("token_cosine.raw", "Token cosine, raw", "Mean cosine of patch tokens"),
    Panel("token_cosine.centred", "Token cosine, centred", "Mean cosine of patch tokens"),
    Panel("rank_residual", "Rank residual", "Share of the norm", UNIT),
    Panel("effective_rank", "Effective rank", "Effective rank (dimensions)"),
)
ATTENTION_PANELS = (
    Panel("attention_entropy", "Entropy of a row", "Entropy (nats)"),
    Panel("attention_distance", "Attention distance", "Mean distance (px)"),
    Panel("head_similarity.map.raw", "Between heads", "Mean cosine, raw"),
    Panel("image_similarity.map.raw", "Between images", "Mean cosine, raw"),
)
BLOCK_PANELS = (
    Panel("update_size", "Size of the update", "|update| / |stream|"),
    Panel("update_cosine", "Direction of the update", "Cosine with the stream"),
    Panel("skip_acc_drop", "One block skipped", "Accuracy lost (share, 0 to 1)"),
)
THETA_PANELS = (
    Panel("theta_identity_distance", "Distance to identity", "|\N{GREEK CAPITAL LETTER THETA} \N{MINUS SIGN} I| / |I|"),
    Panel("theta_singular_values.largest", "Largest singular value", "Singular value"),
    Panel("theta_singular_values.smallest", "Smallest singular value", "Singular value"),
    Panel("batchnorm_gain", "BatchNorm gain", "Factor on the map"),
)

FIGURES = (
    FigureKind(
        "accuracy_vs_depth",
        "Accuracy against depth",
        lambda frames: figure_data.accuracy_vs_depth_data(frames.cells, frames.table),
        plot_accuracy_curves,
        captions.accuracy_caption,
        _unfinished,
        lambda data: bool((data["kind"] != "published").any()),
    ),
    FigureKind(
        "deltas_vs_depth",
        "Differences against depth",
        lambda frames: delta_data(frames.answers),
        plot_deltas,
        delta_caption,
        _no_pairs,
        needs_answers=True,
    ),
    FigureKind(
        "similar_blocks_vs_depth",
        "Similar blocks against depth",
        lambda frames: probe_figure_data.similar_blocks_data(frames.probed, "depth"),
        plot_similar_blocks,
        probe_captions.similar_caption,
        _unprobed,
    ),
    _by_block(
        "map_similarity",
        "Similarity of a block's attention with the block before",
        "map_similarity",
        SIMILARITY_PANELS,
        "no attention here gave its maps to the probes.",
    ),
    _heat_map("softmax"),
    _heat_map("map"),
    FigureKind(
        "feature_similarity",
        "Similarity of every two blocks: their features",
        lambda frames: probe_figure_data.feature_map_data(frames.probed),
        partial(plot_heat_maps, measure="Mean linear CKA"),
        probe_captions.feature_map_caption,
        partial(_no_value, "no trial here has features of several blocks."),
    ),
    FigureKind(
        "accuracy_vs_embed_dim",
        "Accuracy against embedding dimension",
        lambda frames: size_figure_data.accuracy_vs_embed_dim_data(frames.cells),
        plot_accuracy_curves,
        captions.width_caption,
        _no_width,
    ),
    FigureKind(
        "similar_blocks_vs_embed_dim",
        "Similar blocks against embedding dimension",
        lambda frames: probe_figure_data.similar_blocks_data(frames.probed_by_width, "embed_dim"),
        plot_similar_blocks,
        probe_captions.similar_caption,
        _no_width,
    ),
    _by_block("token_similarity", "Similarity of tokens", "token_similarity", TOKEN_PANELS, "no token was probed."),
    _by_block("attention_reach", "Attention maps", "attention", ATTENTION_PANELS, "no attention here gave its maps."),
    _by_block("block_usefulness", "What each block does", "blocks", BLOCK_PANELS, "no block was probed."),
    _by_block(
        "theta_and_batchnorm",
        "Theta and BatchNorm",
        "theta",
        THETA_PANELS,
        "no attention of this sweep mixes heads or normalises maps.",
    ),
    FigureKind(
        "accuracy_vs_params",
        "Accuracy against parameters",
        lambda frames: figure_data.accuracy_vs_params_data(frames.cells),
        partial(plot_accuracy_vs_cost, count="num_params"),
        captions.params_caption,
        _unfinished,
    ),
    FigureKind(
        "accuracy_vs_flops",
        "Accuracy against FLOPs",
        lambda frames: figure_data.accuracy_vs_flops_data(frames.cells),
        partial(plot_accuracy_vs_cost, count="flops"),
        captions.flops_caption,
        _unfinished,
    ),
    _equal_size("equal_params", "num_params", "parameters"),
    _equal_size("equal_flops", "flops", "FLOPs"),
    FigureKind(
        "learning_curves",
        "Learning curves",
        lambda frames: figure_data.learning_curve_data(frames.epochs),
        plot_learning_curves,
        captions.learning_caption,
        lambda _: "no epoch has finished yet.",
    ),
)
