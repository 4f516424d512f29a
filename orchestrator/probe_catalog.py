"""Names, shapes and meaning of the arrays of `probes.npz`; nothing heavy is imported here.

`training/probes.py` writes exactly these and `views/` reads them, and a test holds them to it. The first axis of every
array is E, the probed moments: `epoch` 0 is the untrained network, the last one the final model. L blocks, H heads.
A value that does not exist (the first block has no previous one, self-attention has no Theta) is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ProbeInfo:
    """What one array holds."""

    dims: str
    """Axes after E: `""` a number, `"L"` one a block, `"LL"` one a pair of blocks, `"LH"` one a head, `"LHH"` ..."""
    summary: str
    """What it is, in words a figure can bear, with its source."""
    unit: str = ""


MAP_KINDS: Mapping[str, str] = {
    "softmax": "the map after the softmax",
    "map": "the map that multiplies V",
}
COLUMN_KINDS: Mapping[str, str] = {
    "class": "the class token's column",
    "patch": "the patch tokens' columns",
}
SIMILARITY_KINDS: Mapping[str, str] = {
    "raw": "cosine",
    "centred": "cosine after the column's mean is taken away",
    "shuffled": "raw cosine with the images of one block permuted: what unrelated maps of equal sharpness give",
}
SIMILAR_ABOVE = 0.9
"""Raw cosine above which a column of one block is similar to that of another."""
SIMILAR_SHARE = 0.9
"""Share of similar columns above which a block is similar."""
NUM_NEAREST = 3
"""Blocks before a block that the rule `nearest` looks at; the first blocks have fewer."""
SIMILAR_BLOCK_RULES: Mapping[str, str] = {
    "adjacent": "more than 90 % of a block's columns have a cosine above 0.9 with the block before it",
    "nearest": "more than 90 % of a block's columns have a cosine above 0.9 with every one of the 3 blocks before it",
}


def similarity_name(map_kind: str, columns: str, kind: str) -> str:
    """`map_similarity.softmax.patch.raw`, the name of one cross-layer similarity array."""
    return f"map_similarity.{map_kind}.{columns}.{kind}"


def similar_blocks_name(map_kind: str, rule: str) -> str:
    """`similar_blocks.softmax.adjacent`, the name of one count."""
    return f"similar_blocks.{map_kind}.{rule}"


def _similarities() -> dict[str, ProbeInfo]:
    found = {}
    for map_kind, map_words in MAP_KINDS.items():
        for columns, column_words in COLUMN_KINDS.items():
            for kind, kind_words in SIMILARITY_KINDS.items():
                words = f"similarity of two blocks, {map_words}, {column_words}: mean {kind_words} (DeepViT, eq. 2)"
                found[similarity_name(map_kind, columns, kind)] = ProbeInfo("LL", words)
    return found


def _per_map() -> dict[str, ProbeInfo]:
    found = {}
    for map_kind, words in MAP_KINDS.items():
        for rule, rule_words in SIMILAR_BLOCK_RULES.items():
            found[similar_blocks_name(map_kind, rule)] = ProbeInfo("", f"similar blocks, {words}: {rule_words}")
        found[f"similar_share.{map_kind}"] = ProbeInfo(
            "L", f"share of columns whose cosine with the block before is above 0.9, {words}"
        )
        for kind in ("raw", "centred"):
            found[f"head_similarity.{map_kind}.{kind}"] = ProbeInfo(
                "L", f"mean {SIMILARITY_KINDS[kind]} between the heads of a block, {words}"
            )
            found[f"image_similarity.{map_kind}.{kind}"] = ProbeInfo(
                "L", f"mean {SIMILARITY_KINDS[kind]} between the maps of different images, {words}"
            )
    return found


PROBES: Mapping[str, ProbeInfo] = {
    "epoch": ProbeInfo("", "finished epochs at the moment of the probe; 0 is the untrained network"),
    **_similarities(),
    **_per_map(),
    "attention_entropy": ProbeInfo("LH", "entropy of a softmax row, mean over queries; log N is uniform", "nats"),
    "attention_distance": ProbeInfo("LH", "mean distance from a patch to the patches it attends to", "px"),
    "token_cosine.raw": ProbeInfo("L", "mean cosine between the patch tokens of an image, after the block"),
    "token_cosine.centred": ProbeInfo("L", "the same after the mean token of the image is taken away"),
    "rank_residual": ProbeInfo("L", "share of the tokens' norm outside their mean, |X - 1 x'| / |X| (Frobenius)"),
    "effective_rank": ProbeInfo("L", "exp of the entropy of the tokens' normalised singular values"),
    "cka": ProbeInfo("LL", "linear CKA between the tokens of two blocks, unbiased HSIC (arXiv 2108.08810)"),
    "update_size": ProbeInfo("L", "norm of what a block adds over the norm of the stream it adds to"),
    "update_cosine": ProbeInfo("L", "cosine between what a block adds and the stream it adds to"),
    "theta_identity_distance": ProbeInfo("L", "|Theta - I| / |I| (Frobenius)"),
    "theta_singular_values": ProbeInfo("LH", "singular values of Theta, largest first"),
    "batchnorm_gain": ProbeInfo("LH", "BatchNorm's factor on a head's map, gamma / sqrt(running variance + eps)"),
    "skip_acc_drop": ProbeInfo("L", "accuracy lost when this block is skipped; final model only, NaN before"),
    "num_images": ProbeInfo("", "images of the probe set"),
    "num_skip_images": ProbeInfo("", "images on which skipping blocks was measured"),
    "probe_time_s": ProbeInfo("", "wall time of the probe without the skipped blocks", "s"),
    "skip_time_s": ProbeInfo("", "wall time of skipping each block once", "s"),
}
