"""Published numbers that our figures stand beside, each with its source; nothing here was measured by orch.

Only values that stand in the authors' own repository are listed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedPoint:
    """One published accuracy: ImageNet-1k top-1, 224 px, embedding dimension 384, 12 heads, a single run."""

    model: str
    depth: int
    top1_percent: float
    source: str


@dataclass(frozen=True)
class PublishedCount:
    """One published number of similar blocks, in the setting of `PublishedPoint`; the rule was not published."""

    model: str
    depth: int
    num_similar: int
    source: str


DEEPVIT_SOURCE = "arXiv 2103.11886 README"
DEEPVIT_README = "README of the repository of arXiv 2103.11886"
DEEPVIT_FIGURE = "accuracy figure in the repository of arXiv 2103.11886"

DEEPVIT_CURVE: tuple[PublishedPoint, ...] = (
    PublishedPoint("ViT", 12, 77.6, DEEPVIT_FIGURE),
    PublishedPoint("ViT", 16, 78.88, DEEPVIT_README),
    PublishedPoint("ViT", 24, 79.35, DEEPVIT_README),
    PublishedPoint("ViT", 32, 79.27, DEEPVIT_README),
    PublishedPoint("DeepViT", 12, 77.9, DEEPVIT_FIGURE),
    PublishedPoint("DeepViT", 16, 79.10, DEEPVIT_README),
    PublishedPoint("DeepViT", 24, 79.99, DEEPVIT_README),
    PublishedPoint("DeepViT", 32, 80.90, DEEPVIT_README),
)
"""Depth against accuracy. At 24 blocks the figure prints 80.1 for DeepViT where the README says 79.99."""

DEEPVIT_SIMILAR_BLOCKS: tuple[PublishedCount, ...] = (
    PublishedCount("ViT", 16, 5, DEEPVIT_README),
    PublishedCount("ViT", 24, 11, DEEPVIT_README),
    PublishedCount("ViT", 32, 15, DEEPVIT_README),
    PublishedCount("DeepViT", 16, 0, DEEPVIT_README),
    PublishedCount("DeepViT", 24, 0, DEEPVIT_README),
    PublishedCount("DeepViT", 32, 0, DEEPVIT_README),
)
"""Depth against the number of similar blocks. Which map was measured is not published either."""
