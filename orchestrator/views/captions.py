"""What a figure draws in; the sentences that stand below it out."""

from __future__ import annotations

import pandas as pd

from orchestrator.views.published import DEEPVIT_SOURCE

INTERVALS = (
    "marks are means, bars Student's 95 % intervals over seeds on one fixed test split. "
    "An interval that leaves the panel is cut at its edge."
)


def accuracy_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_accuracy_vs_depth`."""
    ours = data[data["kind"] != "published"]
    means = ours[ours["kind"] == "mean"]
    if means.empty:
        text = "No trial has finished yet."
    else:
        text = f"Test accuracy, {_say_n(means)}: {_say_marks(means)}"
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
    return text


def params_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_accuracy_vs_params`."""
    if data.empty:
        return "No trial has finished yet."
    text = f"Test accuracy against the number of trained parameters, {_say_n(data)}: {_say_marks(data)}"
    return f"{text} Curves are moved sideways by a few points, so that cells of equal size stand side by side."


def learning_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_learning_curves`."""
    if data.empty:
        return "No epoch has finished yet."
    means = data[data["kind"] == "mean"]
    text = "Train loss is over images as augmented and smoothed, validation over plain images. "
    text += (
        f"Thick lines are means over finished trials; {_say_n(means)}." if not means.empty else "No trial has finished."
    )
    if (data["kind"] == "seed").any():
        text += " Thin lines are single trials."
    if (data["state"] == "DIVERGED").any():
        text += " Dotted lines ending in a cross diverged; they are in no mean, and may leave the panel."
    return " ".join([text, *data.attrs["left_out"]])


def _say_marks(means: pd.DataFrame) -> str:
    return INTERVALS if means["low_percent"].notna().any() else "marks are single seeds, which have no interval."


def _say_n(means: pd.DataFrame) -> str:
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
