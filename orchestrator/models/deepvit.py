"""The state dict of an official DeepViT checkpoint in; the same model as our VisionTransformer out.

Reads the layouts of the published code (github.com/zhoudaquan/dvit_repo): plain, Re-attention in every or in the last
blocks, and the convolutional patch embedding of DeepViT-S and -L.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn

from orchestrator.configs import ModelConfig
from orchestrator.errors import TrainingError
from orchestrator.models.vit import VisionTransformer, assemble

_REQUIRED = (
    "cls_token",
    "pos_embed",
    "patch_embed.proj.weight",
    "blocks.0.attn.qkv.weight",
    "blocks.0.mlp.fc1.weight",
    "norm.weight",
    "head.weight",
)


class ConvPatchEmbed(PatchEmbed):
    """The patch embedding of DeepViT-S and -L: two convolutions at half resolution, then patches."""

    def __init__(self, *, in_chans: int, embed_dim: int, patch_size: int, hidden: int, **options: Any) -> None:
        super().__init__(in_chans=in_chans, embed_dim=embed_dim, patch_size=patch_size, **options)
        self.conv1 = nn.Conv2d(in_chans, hidden, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.proj = nn.Conv2d(hidden, embed_dim, kernel_size=patch_size // 2, stride=patch_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B,C,height,width] to patch tokens [B,N,D]."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x_BDN: Tensor = self.proj(x).flatten(2)
        return x_BDN.transpose(1, 2)


def load_deepvit(
    state_dict: Mapping[str, Tensor],
    *,
    num_heads: int,
    transform_scale: bool = False,
    scale_adjustment: float = 1.0,
) -> VisionTransformer:
    """The model of an official DeepViT state dict, in its dtype; every size is read off the tensors.

    Args:
        num_heads: the one size that no tensor of a plain model tells.
        transform_scale: multiply re-attended maps by head_dim^-0.5 (DeepViT-S).
        scale_adjustment: the published code's factor on the input of both norms; branches are divided by it.

    Raises:
        TrainingError: tensors are missing, left over, or of shapes that do not fit together.
    """
    missing = [name for name in _REQUIRED if name not in state_dict]
    if missing:
        raise TrainingError(f"this is no state dict of a DeepViT: {_listed(missing)} missing; pass the bare tensors")
    if not scale_adjustment > 0:
        raise TrainingError(
            f"scale_adjustment is {scale_adjustment}; it has to be positive, as branches are divided by it"
        )
    config = _config(state_dict, num_heads, transform_scale)
    weight = state_dict["patch_embed.proj.weight"]
    options: dict[str, Any] = {}
    in_chans = weight.shape[1]
    if (conv1 := state_dict.get("patch_embed.conv1.weight")) is not None:
        hidden, in_chans = conv1.shape[:2]
        options["embed_layer"] = lambda **made_by_timm: ConvPatchEmbed(hidden=hidden, **made_by_timm)
    with torch.random.fork_rng(devices=[]):
        model = assemble(
            config, in_chans, state_dict["head.weight"].shape[0], block_scale=scale_adjustment, **options
        ).to(weight.dtype)
    _load(model, state_dict)
    return model


def _config(state_dict: Mapping[str, Tensor], num_heads: int, transform_scale: bool) -> ModelConfig:
    embed_dim = state_dict["cls_token"].shape[-1]
    if num_heads < 1 or embed_dim % num_heads:
        raise TrainingError(f"num_heads {num_heads} does not divide the embedding dimension {embed_dim}")
    depth = 1 + max(int(match[1]) for name in state_dict if (match := re.match(r"blocks\.(\d+)\.", name)))
    patch_size = state_dict["patch_embed.proj.weight"].shape[-1]
    if "patch_embed.conv1.weight" in state_dict:
        patch_size *= 2
    num_last = _num_reattention(state_dict, depth, num_heads)
    reattention: dict[str, Any] = {"attention": "reattention", "reattention_last": num_last}
    if transform_scale:
        reattention["reattention_scale"] = "head_dim"
    return ModelConfig(
        depth=depth,
        embed_dim=embed_dim,
        num_heads=num_heads,
        patch_size=patch_size,
        img_size=patch_size * _grid_side(state_dict["pos_embed"]),
        mlp_ratio=_mlp_ratio(state_dict["blocks.0.mlp.fc1.weight"].shape[0], embed_dim),
        qkv_bias="blocks.0.attn.qkv.bias" in state_dict,
        **(reattention if num_last else {}),
    )


def _num_reattention(state_dict: Mapping[str, Tensor], depth: int, num_heads: int) -> int:
    """How many blocks re-attend; they have to be the last ones."""
    blocks = [i for i in range(depth) if f"blocks.{i}.attn.reatten_matrix.weight" in state_dict]
    if blocks != list(range(depth - len(blocks), depth)):
        raise TrainingError(f"Re-attention stands in the blocks {blocks} of {depth}; only the last blocks can have it")
    for i in blocks:
        found = state_dict[f"blocks.{i}.attn.reatten_matrix.weight"].shape[0]
        if found != num_heads:
            raise TrainingError(f"num_heads is {num_heads}, but block {i} mixes {found} heads")
    return len(blocks)


def _grid_side(pos_embed: Tensor) -> int:
    num_patches = pos_embed.shape[1] - 1
    side = math.isqrt(num_patches)
    if side * side != num_patches or side == 0:
        raise TrainingError(f"pos_embed holds {num_patches} patches, which is no square image")
    return side


def _mlp_ratio(hidden: int, embed_dim: int) -> float:
    """A ratio that gives exactly `hidden` channels, though the product is rounded down."""
    ratio = hidden / embed_dim
    return ratio if int(embed_dim * ratio) == hidden else (hidden + 0.5) / embed_dim


def _load(model: VisionTransformer, state_dict: Mapping[str, Tensor]) -> None:
    expected = model.state_dict()
    missing, unknown = sorted(expected.keys() - state_dict.keys()), sorted(state_dict.keys() - expected.keys())
    wrong = [
        f"{name} {tuple(state_dict[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in state_dict and state_dict[name].shape != expected[name].shape
    ]
    problems = [f"{_listed(missing)} missing"] if missing else []
    problems += [f"{_listed(unknown)} not known"] if unknown else []
    problems += [f"wrong shape: {_listed(wrong)}"] if wrong else []
    if problems:
        raise TrainingError(f"the state dict fits no DeepViT of {len(model.blocks)} blocks: {'; '.join(problems)}")
    model.load_state_dict(dict(state_dict))


def _listed(names: list[str], limit: int = 8) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
