"""What a figure draws in; the sentences that stand below it out."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from orchestrator.views.published import DEEPVIT_SOURCE
from orchestrator.views.seed_rule import POOLED_SEEDS

INTERVALS: Mapping[str, str] = {
    POOLED_SEEDS: "95 % intervals over seeds on one fixed test split, with a spread pooled over cells",
    "seeds only": "Student's 95 % intervals over seeds on one fixed test split",
    "seed x image": "95 % intervals over seeds and test images both",
    "": "95 % intervals, over seeds and test images where predictions were kept, over seeds alone elsewhere",
}
CUT = "An interval that leaves the panel is cut at its edge."


def accuracy_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_accuracy_vs_depth`."""
    ours = data[data["kind"] != "published"]
    means = ours[ours["kind"] == "mean"]
    if means.empty:
        text = "No trial has finished yet."
    else:
        text = f"Test accuracy, {say_n(means)}: {_say_marks(means)}"
        text += " Dots are single seeds." * bool((ours["kind"] == "seed").any()) + _say_common(data)
    num_diverged = int((ours["kind"] == "diverged").sum())
    if num_diverged:
        trials = "1 diverged trial, which has" if num_diverged == 1 else f"{num_diverged} diverged trials, which have"
        text += f" Crosses on the floor: {trials} no accuracy and no part in a mean."
    if (data["kind"] == "published").any():
        text += (
            f" The last panel is no result of ours: published, ImageNet-1k, single runs, {DEEPVIT_SOURCE}"
            " (at 12 blocks the repository's figure; at 24 blocks that figure prints 80.1 for DeepViT, not 79.99)."
            " Another dataset and another scale: compare shapes, not heights."
        )
    return " ".join([text, *_left_out(data)])


def params_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_accuracy_vs_params`."""
    return _cost_caption(data, "the number of trained parameters")


def flops_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_accuracy_vs_flops`."""
    return _cost_caption(data, "the FLOPs of one image, forward, a multiply-add as 2")


def _cost_caption(data: pd.DataFrame, what: str) -> str:
    if data.empty:
        return "No trial has finished yet."
    text = f"Test accuracy against {what}, {say_n(data)}: {_say_marks(data)}"
    text += " Curves are moved sideways by a few points, so that cells of equal size stand side by side."
    return " ".join([text, *_left_out(data)])


def width_caption(data: pd.DataFrame) -> str:
    """For the data of `accuracy_vs_embed_dim_data`."""
    text = (
        f"Test accuracy against the embedding dimension, {say_n(data)}: {_say_marks(data)} Published in words only "
        "(arXiv 2103.11886: accuracy rises and similar blocks fall with width), so no value stands beside."
    )
    return " ".join([text, *_left_out(data)])


def equal_size_caption(data: pd.DataFrame, what: str) -> str:
    """For the data of `equal_size_data`; `what` is equal."""
    text = (
        f"Cells of equal {what} (within 2 %) at different depths: what depth buys when it is paid for in width. "
        f"Test accuracy, {say_n(data)}: {_say_marks(data)}"
    )
    return " ".join([text, *_left_out(data)])


def learning_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_learning_curves`."""
    if data.empty:
        return "No epoch has finished yet."
    means = data[data["kind"] == "mean"]
    text = "Train loss is over images as augmented and smoothed, validation over plain images. "
    text += (
        f"Thick lines are means over finished trials; {say_n(means)}." if not means.empty else "No trial has finished."
    )
    if (data["kind"] == "seed").any():
        text += " Thin lines are single trials."
    if (data["state"] == "DIVERGED").any():
        text += " Dotted lines ending in a cross diverged; they are in no mean, and may leave the panel."
    return " ".join([text, *data.attrs["left_out"]])


def _left_out(data: pd.DataFrame) -> list[str]:
    """What is said of curves that are not drawn."""
    told: list[str] = data.attrs.get("left_out", [])
    return told


def _say_marks(means: pd.DataFrame) -> str:
    if means["low_percent"].isna().all():
        return "marks are single seeds, which have no interval."
    methods = means.attrs.get("methods", ["seeds only"])
    return f"marks are means, bars {INTERVALS[methods[0] if len(methods) == 1 else '']}. {CUT}"


def say_n(means: pd.DataFrame) -> str:
    """`n = 3 seeds a cell`, or the range where cells differ."""
    low, high = int(means["n"].min()), int(means["n"].max())
    if low == high:
        return f"n = {low} seed{'s' * (low != 1)} a cell"
    return f"n = {low} to {high} seeds a cell"


def _say_common(data: pd.DataFrame) -> str:
    """What all curves share and the legend therefore does not repeat."""
    curves = [set(parts.values()) for parts in data.attrs["parts"].values()]
    if len(curves) < 2:
        return ""
    common = sorted(set.intersection(*curves))
    return f" All curves: {', '.join(common)}." if common else ""
