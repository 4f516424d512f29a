"""Names and legal options of attentions and datasets; nothing heavy is imported here.

`models/` and `training/` implement exactly what this page names, and a test holds them to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OPTION_DEFAULTS: Mapping[str, str | float | bool | None] = {
    "reattention_last": None,
    "reattention_norm": "batchnorm",
    "reattention_init": "random",
    "reattention_frozen": None,
    "reattention_scale": "none",
    "neutreno_lambda": 0.6,
    "value_residual_mix": 0.5,
}
"""Model fields that only some attentions read, with their defaults. None is a legal value: 'not set'."""

MAP_FREE_FROM = 65
"""Tokens from which a CPU mixes heads without keeping maps: an 8 x 8 grid of patches and the class token."""

FEW_TOKENS = 32
"""Of fewer tokens a CPU that trains keeps the map of self-attention, because that is faster than a fused kernel."""

SMALL_SIDE = 64
"""Images of at most this many pixels a side, all of one size, are decoded once and kept in memory."""

_LAST = ("reattention_last",)
_THETA = (*_LAST, "reattention_init", "reattention_frozen")


@dataclass(frozen=True)
class AttentionInfo:
    """What a spec may say about one attention."""

    summary: str
    operator: str = ""
    """What it computes from A = softmax(QK'/sqrt(K)), V, the mean over tokens 1/N and what it learns."""
    source: str = ""
    option_names: tuple[str, ...] = ()
    """The model fields of `OPTION_DEFAULTS` that this attention reads."""
    neutral: str = ""
    """The setting or the start at which it equals self-attention; empty where there is none."""
    min_heads: int = 1
    head_dim_multiple: int = 1
    """The channels of a head are a multiple of this."""

    @property
    def options(self) -> Mapping[str, str | float | bool | None]:
        """The options this attention reads, with their defaults."""
        return {name: OPTION_DEFAULTS[name] for name in self.option_names}


ATTENTIONS: Mapping[str, AttentionInfo] = {
    "self": AttentionInfo(
        "softmax self-attention, timm's fused implementation",
        operator="A V",
        source="arXiv 1706.03762; timm",
        neutral="itself",
    ),
    "reattention": AttentionInfo(
        "Re-attention of DeepViT: heads mixed after the softmax, then BatchNorm",
        operator="BN(Theta A + c) V",
        source="arXiv 2103.11886, section 4.2, and its released code",
        option_names=(*_THETA, "reattention_norm", "reattention_scale"),
        neutral="reattention_norm none with reattention_init identity",
        min_heads=2,
    ),
    "reattention_ln": AttentionInfo(
        "Re-attention as in vit-pytorch: LayerNorm over heads at every pair of tokens, another operator than DeepViT's",
        operator="LN_heads(Theta A) V",
        source="vit-pytorch, deepvit",
        option_names=_THETA,
        min_heads=2,
    ),
    "mix_only": AttentionInfo(
        "control: the mixing of heads of Re-attention without its BatchNorm",
        operator="(Theta A + c) V",
        source="control for arXiv 2103.11886",
        option_names=_THETA,
        neutral="reattention_init identity",
        min_heads=2,
    ),
    "batchnorm_only": AttentionInfo(
        "control: the BatchNorm of Re-attention without its mixing of heads",
        operator="BN(A) V",
        source="control for arXiv 2103.11886",
        option_names=_LAST,
    ),
    "centre_only": AttentionInfo(
        "control: the map without its average-pooling part, neither mixed nor rescaled",
        operator="(A - 1/N) V",
        source="control for arXiv 2103.11886",
        option_names=_LAST,
    ),
    "gain_only": AttentionInfo(
        "control: BatchNorm's size of the map without its centring, without mixing",
        operator="gamma_h A / sqrt(var_h + eps) V",
        source="control for arXiv 2103.11886",
        option_names=_LAST,
    ),
    "talking_heads": AttentionInfo(
        "talking heads: heads mixed before and after the softmax, without norm",
        operator="(P_w softmax(P_l QK'/sqrt(K) + c_l) + c_w) V",
        source="arXiv 2003.02436; CaiT (arXiv 2103.17239) in timm",
        option_names=_THETA,
        neutral="reattention_init identity",
        min_heads=2,
    ),
    "temperature": AttentionInfo(
        "a learned softmax temperature for each head",
        operator="softmax(QK'/(T_h sqrt(K))) V",
        source="arXiv 2103.11886, learnable temperature",
        neutral="its start, T_h = 1",
    ),
    "attnscale": AttentionInfo(
        "AttnScale: a learned weight for each head's map above its mean",
        operator="(1/N + (1 + w_h)(A - 1/N)) V",
        source="arXiv 2203.05962",
        neutral="its start, w_h = 0",
    ),
    "featscale": AttentionInfo(
        "FeatScale: learned weights for the output's mean over tokens and for the rest, channel by channel",
        operator="O + s mean(O) + t (O - mean(O)), O the output of A V",
        source="arXiv 2203.05962",
        neutral="its start, s = t = 0",
    ),
    "neutreno": AttentionInfo(
        "NeuTRENO: pulled towards the values of the first block",
        operator="A V + lambda (V_first - V)",
        source="arXiv 2312.00751",
        option_names=("neutreno_lambda",),
        neutral="neutreno_lambda 0",
    ),
    "value_residual": AttentionInfo(
        "value residual: values mixed with those of the first block",
        operator="A (m V_first + (1 - m) V)",
        source="arXiv 2410.17897",
        option_names=("value_residual_mix",),
        neutral="value_residual_mix 0",
    ),
    "realformer": AttentionInfo(
        "RealFormer: logits summed over blocks",
        operator="softmax(QK'/sqrt(K) + logits of the block before) V",
        source="arXiv 2012.11747",
        neutral="depth 1",
    ),
    "differential": AttentionInfo(
        "differential attention, timm's: the difference of two softmax maps, normalised a head",
        operator="RMSNorm((A_1 - lambda A_2) V) (1 - lambda_init)",
        source="arXiv 2410.05258; timm",
        head_dim_multiple=2,
    ),
}

ATTENTION_OPTIONS: frozenset[str] = frozenset(OPTION_DEFAULTS)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is opened; None where the spec has to say it."""

    summary: str
    img_size: int | None
    in_chans: int
    num_classes: int | None
    num_images: tuple[int, int] | None = None
    """Images of the official training part, or all where there is no other, and of the test part; None where only the
    files tell."""
    has_test_part: bool = True
    """Whether the dataset comes with an official test part; else a fixed stratified share becomes the test split."""
    needs_id: bool = False
    """Whether the spec must name the content (`data.id`), because the name alone does not."""
    needs_root: bool = False
    is_fetched: bool = False
    """Whether orch may download it (once, into `data.root` or the cache folder)."""


DATASETS: Mapping[str, DatasetInfo] = {
    "digits": DatasetInfo(
        "scikit-learn's bundled handwritten digits, 1,797 grey images", 8, 1, 10, (1797, 0), has_test_part=False
    ),
    "cifar10": DatasetInfo("CIFAR-10, 60,000 colour images", 32, 3, 10, (50_000, 10_000), is_fetched=True),
    "cifar100": DatasetInfo("CIFAR-100, 60,000 colour images", 32, 3, 100, (50_000, 10_000), is_fetched=True),
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
