"""What a figure of the diagnostics draws in; the sentences that stand below it out."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from orchestrator.probe_catalog import MAP_KINDS, SIMILAR_BLOCK_RULES
from orchestrator.views.captions import say_n
from orchestrator.views.curve_choice import choose_curves, say_choice
from orchestrator.views.probe_figure_data import MAX_CURVES, SHUFFLED, UNTRAINED

SIMILARITY = (
    "Similarity of two blocks: the cosine of equal columns of their attention maps (how one patch token is attended to "
    "by all others), mean over heads, patch columns and probe images."
)
CALIBRATION = (
    "An untrained network can score near 1 raw, and maps that BatchNorm has centred score near 0 raw by construction: "
    "only the distance from the untrained and shuffled values says something."
)
METRICS: Mapping[str, str] = {
    "map_similarity": f"{SIMILARITY} {CALIBRATION}",
    "token_similarity": (
        "Tokens after each block, patch tokens of one image at a time. Cosine: mean over pairs, raw and after the "
        "image's mean token is taken away. Rank residual: |X - mean| / |X| (Frobenius), 0 where all tokens are one. "
        "Effective rank: exp of the entropy of the singular values' shares."
    ),
    "attention": (
        "Entropy of a softmax row in nats (log N where it is uniform) and mean distance in pixels from a patch to "
        "what it attends to, means over heads; cosine between the maps of a block's heads, and between the maps of "
        "different images, of the map that multiplies V."
    ),
    "blocks": (
        "Norm of what a block adds over the norm of the stream it adds to, the cosine of the two, and the accuracy "
        "lost when this block alone is skipped in the trained network."
    ),
    "theta": (
        "Theta mixes the heads of a block. Distance: |Theta - I| / |I| (Frobenius), 0 where heads are not mixed. "
        "BatchNorm gain: its factor on a head's map, gamma / sqrt(variance + eps), mean over heads. An attention "
        "without Theta or BatchNorm has no line."
    ),
}


def block_caption(kind: str, data: pd.DataFrame) -> str:
    """For the data of `plot_block_curves`; `kind` is a key of `METRICS`."""
    depths = ", ".join(str(depth) for depth in sorted(data["depth"].unique()))
    text = f"{METRICS[kind]} At {depths} blocks, {say_n(data)}; bands are Student's 95 % intervals over seeds."
    return text + _say_moments(data) + _say_left_out(data)


def similar_caption(data: pd.DataFrame) -> str:
    """For the data of `plot_similar_blocks`."""
    ours = data[data["map"] != "not published"]
    rules = "; ".join(f"“{name}”: {words}" for name, words in SIMILAR_BLOCK_RULES.items())
    maps = " and ".join(words for name, words in MAP_KINDS.items() if (ours["map"] == name).any())
    text = f"Number of similar blocks over the number of blocks, by raw cosine of {maps}. Rules: {rules}. {CALIBRATION}"
    text += f" Bars are Student's 95 % intervals over seeds, {say_n(ours)}."
    text += _say_moments(ours) + _say_left_out(data)
    if (data["map"] == "not published").any():
        text += (
            " The last panel is no result of ours: counts of the repository of arXiv 2103.11886, ImageNet-1k, 224 px,"
            " single runs, over their depth. Its rule, its map and an untrained value were not published, and the"
            " dataset is another: no height can be compared."
        )
    return text


def heat_map_caption(map_kind: str, data: pd.DataFrame) -> str:
    """For the data of `plot_heat_maps`."""
    depths = ", ".join(str(depth) for depth in sorted(data["depth"].unique()))
    text = (
        f"{SIMILARITY} Of {MAP_KINDS[map_kind]}, at {depths} blocks, {say_n(data)}. Shuffled: the images of one of the"
    )
    text += " two blocks are permuted, which is what unrelated maps of equal sharpness give."
    return f"{text} {CALIBRATION}{_say_left_out(data)}"


def feature_map_caption(data: pd.DataFrame) -> str:
    """For the data of `feature_map_data`."""
    depths = ", ".join(str(depth) for depth in sorted(data["depth"].unique()))
    text = "Linear CKA (unbiased HSIC) between the tokens after every two blocks, at "
    text += f"{depths} blocks, {say_n(data)}; 1 is the same features up to a rotation and a factor."
    text += " A residual stream carries its input along, so an untrained network can be near 1 too: only the distance"
    text += " from the untrained value says something."
    return f"{text}{_say_left_out(data)}"


def _say_moments(data: pd.DataFrame) -> str:
    found = set(data["moment"].dropna())
    text = (
        " Dashed: the same network before training." if UNTRAINED in found else " The untrained network was not probed."
    )
    return text + " Dotted: images of one block shuffled." * (SHUFFLED in found)


def _say_left_out(data: pd.DataFrame) -> str:
    num_curves, num_drawn = len(data.attrs["parts"]), len(choose_curves(data.attrs["parts"], MAX_CURVES))
    return f" {say_choice(num_drawn, num_curves)}" if num_drawn < num_curves else ""
