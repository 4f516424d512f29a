"""Names and legal options of attentions and datasets; nothing heavy is imported here.

`models/` and `training/` implement exactly what this page names, and a test holds them to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AttentionInfo:
    """What a spec may say about one attention."""

    summary: str
    options: Mapping[str, str | float | bool | None] = field(default_factory=dict)
    """Model fields that only this attention reads, with their defaults. None is a legal value: 'not set'."""
    min_heads: int = 1


ATTENTIONS: Mapping[str, AttentionInfo] = {
    "self": AttentionInfo("softmax self-attention, timm's fused implementation"),
    "reattention": AttentionInfo(
        "Re-attention of DeepViT (arXiv 2103.11886, section 4.2): heads mixed after the softmax, then BatchNorm",
        options={
            "reattention_last": None,
            "reattention_norm": "batchnorm",
            "reattention_init": "random",
            "reattention_scale": "none",
        },
        min_heads=2,
    ),
}

ATTENTION_OPTIONS: frozenset[str] = frozenset(name for info in ATTENTIONS.values() for name in info.options)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is opened; None where the spec has to say it."""

    summary: str
    img_size: int | None
    in_chans: int
    num_classes: int | None
    has_test_part: bool = True
    """Whether the dataset comes with an official test part; else a fixed stratified share becomes the test split."""
    needs_id: bool = False
    """Whether the spec must name the content (`data.id`), because the name alone does not."""
    needs_root: bool = False
    is_fetched: bool = False
    """Whether orch may download it (once, into `data.root` or the cache folder)."""


DATASETS: Mapping[str, DatasetInfo] = {
    "digits": DatasetInfo(
        "scikit-learn's bundled handwritten digits, 1,797 grey images", 8, 1, 10, has_test_part=False
    ),
    "cifar10": DatasetInfo("CIFAR-10, 60,000 colour images", 32, 3, 10, is_fetched=True),
    "cifar100": DatasetInfo("CIFAR-100, 60,000 colour images", 32, 3, 100, is_fetched=True),
    "image_folder": DatasetInfo(
        "a tree train/<class>/* and val/<class>/* (or test/)", None, 3, None, needs_id=True, needs_root=True
    ),
    "parquet": DatasetInfo(
        "Parquet files with columns image {bytes, path} and label", None, 3, None, needs_id=True, needs_root=True
    ),
}


def is_dotted_attention(name: str) -> bool:
    """Whether `name` points at a user's own class: `my_pkg.attn:MyAttention`."""
    module, colon, cls = name.partition(":")
    return bool(colon) and cls.isidentifier() and all(part.isidentifier() for part in module.split("."))


def attention_info(name: str) -> AttentionInfo:
    """The entry of `name`; a user's own attention has no options of ours.

    Raises:
        KeyError: `name` is neither in `ATTENTIONS` nor a dotted path.
    """
    if is_dotted_attention(name):
        return AttentionInfo(f"the attention class {name}")
    return ATTENTIONS[name]
