"""What a trial is configured by: model, data and recipe as frozen values, with their types, limits and descriptions.

A field that is None is absent from the hash, so a field added later with the default None leaves every known `trial_id`
as it is. Fields marked `hashed=False` say where things lie, not what they are.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from orchestrator.catalog import ATTENTION_OPTIONS, attention_info

NOT_HASHED: Mapping[str, Any] = {"hashed": False}

Positive = Annotated[int, Gt(0)]
Fraction = Annotated[float, Ge(0.0), Lt(1.0)]
Rate = Annotated[float, Ge(0.0), Le(1.0)]


GOVERNED: Mapping[str, tuple[str, Any]] = {
    "residual_base_depth": ("residual_scale", 1),
    "cos_reg_weight": ("cos_reg", 0.1),
    "cos_reg_blocks": ("cos_reg", None),
}
"""Fields that mean something only where another one is set: that one, and the value they have there by default."""

RESIDUAL_EXPONENTS: Mapping[str | None, float] = {None: 0.0, "1/sqrt(depth)": 0.5, "1/depth": 1.0}


class _Section:
    """Numbers take the type their field declares, so 12 and 12.0 are one value."""

    @cached_property
    def hashed_fields(self) -> Mapping[str, Any]:
        """What makes another trial when it changes; a field that is None is absent."""
        cls: type = type(self)
        values = ((name, getattr(self, name)) for name in _hashed_names(cls))
        return {name: value for name, value in values if value is not None}

    @cached_property
    def hashed_text(self) -> str:
        """Canonical JSON of `hashed_fields`; made once for the many trials that share a section."""
        return canonical_json(self.hashed_fields)

    def __post_init__(self) -> None:
        cls: type = type(self)
        for name, hint in _field_types(cls).items():
            object.__setattr__(self, name, _as_declared(getattr(self, name), hint))
        for name, (governor, default) in GOVERNED.items():
            if name in _field_types(cls):
                self._govern(name, governor, default)

    def _govern(self, name: str, governor: str, default: Any) -> None:
        if getattr(self, governor) == "none":
            object.__setattr__(self, governor, None)
        if getattr(self, governor) is None:
            object.__setattr__(self, name, None)
        elif getattr(self, name) is None:
            object.__setattr__(self, name, default)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(_Section):
    """The network; argument names are timm's."""

    depth: Positive
    """Number of transformer blocks."""
    embed_dim: Positive
    """Channels of the residual stream; a multiple of `num_heads`."""
    num_heads: Positive
    """Attention heads of every block."""
    patch_size: Positive
    """Side of a square patch in pixels; divides `img_size`."""
    img_size: Positive
    """Side of the square input in pixels; in a spec it defaults to the dataset's own size."""
    attention: str = "self"
    """An attention of the catalog, or a class of your own as `package.module:Class`."""
    mlp_ratio: Annotated[float, Gt(0.0)] = 4.0
    """Hidden channels of the MLP over `embed_dim`."""
    qkv_bias: bool = True
    """Whether queries, keys and values have a bias."""
    qk_norm: bool | None = None
    """LayerNorm on queries and keys, over the channels of each head; false is the same as absent."""
    init_values: Annotated[float, Gt(0.0)] | None = None
    """Initial value of LayerScale (arXiv 2103.17239); absent means no LayerScale."""
    residual_scale: Literal["none", "1/sqrt(depth)", "1/depth"] | None = None
    """Factor m^-a on both branches of every block, a = 1/2 or 1 and m = depth / residual_base_depth, with the learning
    rate of CompleteP (arXiv 2505.01618): that of the blocks times m^(a-1), their Adam eps times m^-a."""
    residual_base_depth: Positive | None = None
    """The depth at which `residual_scale` changes nothing; 1 where it is not given."""
    global_pool: Literal["token", "avg"] = "token"
    """What the classifier reads: the class token, or the mean over patch tokens."""
    drop_rate: Fraction = 0.0
    """Dropout before the classifier."""
    proj_drop_rate: Fraction = 0.0
    """Dropout after the attention projection and in the MLP."""
    attn_drop_rate: Fraction = 0.0
    """Dropout on the attention map."""
    drop_path_rate: Fraction = 0.0
    """Stochastic depth at the last block; grows linearly from 0 at the first."""
    weight_init: Literal["trunc_normal", "xavier_uniform"] = "trunc_normal"
    """How the weights of linear layers start."""
    init_std: Annotated[float, Gt(0.0)] = 0.02
    """Standard deviation of trunc_normal weights and of the positions; timm's value is 0.02."""
    reattention_last: Positive | None = None
    """Re-attention in the last k blocks only, self-attention before them; absent means every block."""
    reattention_norm: Literal["batchnorm", "none"] | None = None
    """What follows the mixing of heads."""
    reattention_init: Literal["random", "identity"] | None = None
    """Start of the mixing matrix: the published code's random one, or the identity."""
    reattention_frozen: bool | None = None
    """Whether the mixing matrix and its bias keep their start; false is the same as absent."""
    reattention_scale: Literal["none", "head_dim"] | None = None
    """Factor on the re-attended map: none, or head_dim^-0.5 (`transform_scale` of the published code)."""
    neutreno_lambda: Annotated[float, Ge(0.0)] | None = None
    """Weight of the pull towards the first block's values; 0 is self-attention."""
    value_residual_mix: Rate | None = None
    """Share of the first block's values; 0 is self-attention."""
    attention_source: str | None = None
    """Hash of the source of a user's own attention; set by orch."""

    @property
    def residual_exponent(self) -> float:
        """The exponent a of `residual_scale`, 0 without one."""
        return RESIDUAL_EXPONENTS[self.residual_scale]

    @property
    def depth_ratio(self) -> float:
        """m = depth / residual_base_depth; 1 without `residual_scale`."""
        return self.depth / self.residual_base_depth if self.residual_base_depth is not None else 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("qk_norm", "reattention_frozen"):
            if getattr(self, name) is False:
                object.__setattr__(self, name, None)
        own = attention_info(self.attention).options
        for name in sorted(ATTENTION_OPTIONS):
            value = getattr(self, name)
            if name in own and value is None:
                object.__setattr__(self, name, own[name])
            elif name not in own and value is not None:
                raise ValueError(f"{name} is not an option of attention {self.attention!r}")


@dataclass(frozen=True, kw_only=True)
class DataConfig(_Section):
    """The images and how they are split."""

    name: str
    """A dataset of the catalog."""
    num_classes: Positive
    """Number of labels; known for named datasets, said by the spec for folders and Parquet files."""
    in_chans: Positive = 3
    """Channels of an image."""
    id: str | None = None
    """A name for the content of a folder or of Parquet files; hashed in place of the path."""
    val_fraction: Fraction = 0.1
    """Share of the training images held out for validation, stratified by label and the same for every trial."""
    test_fraction: Annotated[float, Gt(0.0), Lt(1.0)] | None = None
    """Share of all images that becomes the test split where a dataset has no official one."""
    root: str | None = field(default=None, compare=False, metadata=NOT_HASHED)
    """Where the files lie on this machine."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Section):
    """The recipe."""

    epochs: Positive
    """Passes over the training split, cool-down not counted."""
    batch_size: Positive
    """Images an optimizer step."""
    lr: Annotated[float, Gt(0.0)]
    """Peak learning rate."""
    optimizer: Literal["adamw", "sgd", "lamb"] = "adamw"
    """A name timm's optimizer factory knows."""
    weight_decay: Annotated[float, Ge(0.0)] = 0.05
    """Decoupled weight decay; biases, norms, positions and the class token are exempt."""
    momentum: Fraction = 0.9
    """Momentum of sgd; unused by the others."""
    min_lr: Annotated[float, Ge(0.0)] = 1e-5
    """Where the cosine ends."""
    warmup_epochs: Annotated[int, Ge(0)] = 0
    """Epochs of linear warm-up from `warmup_lr`."""
    warmup_lr: Annotated[float, Ge(0.0)] = 1e-6
    """Learning rate at the first step of the warm-up."""
    cooldown_epochs: Annotated[int, Ge(0)] = 0
    """Epochs at `min_lr` after the cosine."""
    clip_grad: Annotated[float, Gt(0.0)] | None = None
    """Largest norm of the gradient; absent means no clipping."""
    label_smoothing: Fraction = 0.0
    """Share of the target spread over all labels."""
    mixup: Annotated[float, Ge(0.0)] = 0.0
    """Alpha of mixup; 0 is off."""
    cutmix: Annotated[float, Ge(0.0)] = 0.0
    """Alpha of CutMix; 0 is off."""
    mixup_prob: Rate = 1.0
    """Chance that a batch is mixed at all."""
    crop_padding: Annotated[int, Ge(0)] = 0
    """Zero padding in pixels before a random crop back to `img_size`."""
    hflip: Rate = 0.0
    """Chance of a horizontal flip."""
    random_resized_crop: Annotated[float, Gt(0.0), Le(1.0)] | None = None
    """Smallest area share of a random resized crop; absent means no such crop."""
    auto_augment: str | None = None
    """timm's augmentation string, e.g. rand-m9-mstd0.5-inc1."""
    color_jitter: Annotated[float, Ge(0.0)] = 0.0
    """Strength of brightness, contrast and saturation jitter."""
    random_erasing: Rate = 0.0
    """Chance that a rectangle of an image is replaced by noise."""
    cos_reg: Literal["none", "released", "paper"] | None = None
    """Penalty on the cosine between the maps of consecutive blocks: `released`, over heads, in the first blocks, as in
    DeepViT's code; `paper`, over the columns of the map (its M), in the last blocks."""
    cos_reg_weight: Annotated[float, Gt(0.0)] | None = None
    """Weight of that penalty beside the cross-entropy; 0.1 where it is not given."""
    cos_reg_blocks: Positive | None = None
    """`released`: the number n of pairs (0,1) to (n-1,n). `paper`: the number of last blocks. Absent means all."""
    ema_decay: Annotated[float, Gt(0.0), Lt(1.0)] | None = None
    """Decay of an exponential moving average of the weights; where set, the average is what is evaluated."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of forward and backward; bf16 means autocast."""
    micro_batch_size: Positive | None = None
    """Images a forward pass; gradients accumulate to `batch_size`. Absent means the whole batch."""
    checkpoint_minutes: Annotated[float, Gt(0.0)] = field(default=10.0, compare=False, metadata=NOT_HASHED)
    """Wall time between checkpoints inside a long epoch."""

    @property
    def needs_pillow(self) -> bool:
        """Whether images are changed one by one, on the host, because batches cannot be."""
        return self.random_resized_crop is not None or self.auto_augment is not None or self.color_jitter > 0


SECTIONS: Mapping[str, type] = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}


def section_of(field_name: str) -> str:
    """The section that owns `field_name`. Names are unique over the sections.

    Raises:
        KeyError: no section has such a field.
    """
    for section, cls in SECTIONS.items():
        if field_name in {f.name for f in dataclasses.fields(cls)}:
            return section
    raise KeyError(field_name)


def is_hashed(f: dataclasses.Field[Any]) -> bool:
    """Whether a change of this field makes another trial."""
    return bool(f.metadata.get("hashed", True))


def canonical_json(content: Mapping[str, Any]) -> str:
    """The one text of `content`, whatever the order of its keys; NaN and infinity are refused."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


@cache
def _hashed_names(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls) if is_hashed(f))


@cache
def _field_types(cls: type) -> dict[str, type]:
    hints = typing.get_type_hints(cls)
    return {f.name: _number_type(hints[f.name]) for f in dataclasses.fields(cls)}


def _number_type(hint: Any) -> type:
    """int or float where the field holds a number, object elsewhere."""
    args = typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return next((_number_type(arg) for arg in args if arg is not type(None)), object)
    return hint if hint in (int, float) else object


def _as_declared(value: Any, hint: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    if hint is float:
        return float(value) + 0.0  # -0.0 becomes 0.0
    if hint is int and float(value).is_integer():
        return int(value)
    return value
