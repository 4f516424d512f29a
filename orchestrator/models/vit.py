"""A `Trial` in; its vision transformer out, checked and with every parameter at its own reproducible start.

timm's VisionTransformer with blocks of ours. Shape suffixes: B batch, N tokens, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.layers.drop import DropPath, drop_path
from timm.layers.layer_scale import LayerScale
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from orchestrator.catalog import attention_info, is_dotted_attention
from orchestrator.configs import ModelConfig
from orchestrator.cost import block_attentions
from orchestrator.errors import TrainingError
from orchestrator.models.attention import attention_class
from orchestrator.models.context import ForwardContext
from orchestrator.models.initialize import initialize
from orchestrator.models.softmax_attention import AttentionSpec
from orchestrator.seeding import stream_seed
from orchestrator.trial import Trial
from orchestrator.user_attention import attention_source_hash


class BranchDrop(DropPath):
    """timm's DropPath, which no compiler looks into: its rate grows from block to block, and each would be compiled."""

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x_BND: Tensor) -> Tensor:
        """Drop whole branches: [B,N,D] to the same shape."""
        dropped_BND: Tensor = drop_path(x_BND, self.drop_prob, self.training, self.scale_by_keep)
        return dropped_BND


class Block(nn.Module):
    """Pre-norm transformer block around any attention: x + s * attn(norm(x)), then x + s * mlp(norm(x)).

    `norm_scale` multiplies the input of both norms and `branch_scale` is s; both 1 but for DeepViT-S and -L, whose
    published code halves the one and doubles the other.
    """

    def __init__(
        self,
        attn: nn.Module,
        *,
        dim: int,
        mlp_ratio: float,
        proj_drop: float,
        drop_path: float,
        init_values: float | None,
        norm_layer: Callable[[int], nn.Module],
        act_layer: type[nn.Module],
        norm_scale: float = 1.0,
        branch_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.norm_scale, self.branch_scale = norm_scale, branch_scale
        self.norm1 = norm_layer(dim)
        self.attn = attn
        self.ls1 = LayerScale(dim, init_values=init_values) if init_values else nn.Identity()
        self.drop_path1 = BranchDrop(drop_path) if drop_path else nn.Identity()
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, hidden_features=int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.ls2 = LayerScale(dim, init_values=init_values) if init_values else nn.Identity()
        self.drop_path2 = BranchDrop(drop_path) if drop_path else nn.Identity()

    def forward(self, x_BND: Tensor, context: ForwardContext | None = None) -> Tensor:
        """One block: [B,N,D] to [B,N,D]."""
        context = context or ForwardContext()
        update_BND = self.attn(self.norm1(_times(x_BND, self.norm_scale)), context)
        x_BND = x_BND + _times(self.drop_path1(self.ls1(update_BND)), self.branch_scale)
        update_BND = self.mlp(self.norm2(_times(x_BND, self.norm_scale)))
        return x_BND + _times(self.drop_path2(self.ls2(update_BND)), self.branch_scale)


def _times(x_BND: Tensor, factor: float) -> Tensor:
    return x_BND if factor == 1.0 else x_BND * factor


class VisionTransformer(TimmVisionTransformer):
    """timm's VisionTransformer whose blocks run one by one and share a `ForwardContext`."""

    def forward(
        self,
        x: Tensor,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        context: ForwardContext | None = None,
    ) -> Tensor:
        """Images [B,C,height,width] to logits [B,classes]; arguments are those of `forward_features`."""
        logits: Tensor = self.forward_head(self.forward_features(x, attn_mask, is_causal, context=context))
        return logits

    def forward_features(
        self,
        x: Tensor,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        context: ForwardContext | None = None,
    ) -> Tensor:
        """Images [B,C,height,width] to normalised tokens [B,N,D]; `context.observer` sees what happens on the way.

        Raises:
            ValueError: a mask was given; the attentions under study attend to all tokens.
        """
        if attn_mask is not None or is_causal:
            raise ValueError("attention masks are not supported")
        context = context or ForwardContext()
        x_BND = self.embed(x)
        context.observe(-1, "tokens", x_BND)
        for block_idx, block in enumerate(self.blocks):
            if self.grad_checkpointing and torch.is_grad_enabled() and not context.is_observed:
                x_BND, context.shared = _run_checkpointed(block, x_BND, context.shared)
            else:
                run = block.forward if context.is_observed else block  # what is observed is not compiled
                x_BND = run(x_BND, context)
            context.observe(block_idx, "tokens", x_BND)
        tokens_BND: Tensor = self.norm(x_BND)
        return tokens_BND

    def embed(self, x: Tensor) -> Tensor:
        """Images [B,C,height,width] to the stream in front of the first block, [B,N,D]."""
        x_BND: Tensor = self.norm_pre(self.patch_drop(self._pos_embed(self.patch_embed(x))))
        return x_BND


def _run_checkpointed(block: nn.Module, x_BND: Tensor, shared: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The block's output and what it leaves to later ones; its inside is computed again in the backward pass."""
    num_calls = 0

    def run(x_BND: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        nonlocal num_calls
        num_calls += 1
        context = ForwardContext(shared=dict(shared), is_recompute=num_calls > 1)
        return block(x_BND, context), context.shared

    result: tuple[Tensor, dict[str, Tensor]] = checkpoint(run, x_BND, use_reentrant=False)
    return result


def build_model(trial: Trial) -> VisionTransformer:
    """The trial's model in float32 on the CPU; equal for equal trials, whatever the global random state.

    Raises:
        TrainingError: a user's attention cannot be imported or built, or its source is not the one that was planned.
    """
    model = trial.model
    names = block_attentions(model)
    _require_planned_source(model)
    with torch.random.fork_rng(devices=[]):
        network = assemble(model, trial.data.in_chans, trial.data.num_classes, seed=trial.seed)
    keep = tuple(f"blocks.{i}.attn" for i, name in enumerate(names) if is_dotted_attention(name))
    initialize(network, model, trial.seed, keep=keep)
    return network


def assemble(
    model: ModelConfig, in_chans: int, num_classes: int, *, seed: int = 0, block_scale: float = 1.0, **timm_options: Any
) -> VisionTransformer:
    """The modules of a model; the start of a user's own attention follows `seed`, all other parameters are undefined.

    Args:
        block_scale: norms see the stream times this, branches are divided by it (`scale_adjustment` of DeepViT).
    """
    names = block_attentions(model)
    branch_scale = model.depth_ratio**-model.residual_exponent / block_scale

    def make_block(*, depth: int, **made_by_timm: Any) -> Block:
        taken = ("dim", "mlp_ratio", "proj_drop", "drop_path", "init_values", "norm_layer", "act_layer")
        attn = _make_attention(names[depth], model, depth, seed)
        options = {name: made_by_timm[name] for name in taken}
        return Block(attn, norm_scale=block_scale, branch_scale=branch_scale, **options)

    shared = ("depth", "embed_dim", "num_heads", "patch_size", "img_size", "mlp_ratio", "qkv_bias", "init_values")
    rates = ("global_pool", "drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate")
    options = {name: getattr(model, name) for name in shared + rates} | timm_options
    options["block_fn"] = make_block  # timm declares a class; it calls it, with the block's index as `depth`
    return VisionTransformer(in_chans=in_chans, num_classes=num_classes, weight_init="skip", **options)


def _make_attention(name: str, model: ModelConfig, block_idx: int, seed: int) -> nn.Module:
    spec = AttentionSpec(
        dim=model.embed_dim,
        num_heads=model.num_heads,
        block_idx=block_idx,
        depth=model.depth,
        qkv_bias=model.qkv_bias,
        qk_norm=bool(model.qk_norm),
        attn_drop=model.attn_drop_rate,
        proj_drop=model.proj_drop_rate,
        options={option: getattr(model, option) for option in attention_info(name).options},
    )
    cls = attention_class(name)
    if not is_dotted_attention(name):
        return cls(spec)
    torch.manual_seed(stream_seed(seed, "init", f"blocks.{block_idx}.attn"))
    try:
        return cls(spec)
    except Exception as error:  # whatever the user's class raises
        raise TrainingError(f"the attention {name!r} cannot be built: {type(error).__name__}: {error}") from error


def _require_planned_source(model: ModelConfig) -> None:
    planned = model.attention_source
    if planned is None:
        return
    found = attention_source_hash(model.attention)
    if found != planned:
        raise TrainingError(
            f"the source of the attention {model.attention!r} has changed since the trial was planned "
            f"(hash {planned[:12]}, now {found[:12]}); plan the sweep again, which makes it another trial"
        )
