"""An `AttentionSpec` in; an attention that mixes the heads of its map by Theta and normalises it out.

Shape suffixes: B batch, N tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orchestrator.catalog import MAP_FREE_FROM
from orchestrator.models.context import ForwardContext
from orchestrator.models.fused import can_fuse, mix_fused
from orchestrator.models.head_norm import HeadLayerNorm, HeadNorm
from orchestrator.models.map_free import mix_values
from orchestrator.models.softmax_attention import AttentionSpec, Draw, MapAttention, fill, merge_heads, split_heads


class ReAttention(MapAttention):
    """Re-attention: Norm(Theta softmax(QK'/sqrt(K))) V, heads mixed by Theta (DeepViT, arXiv 2103.11886, section 4.2).

    Follows the published code: Theta is a 1x1 convolution over heads with bias, Norm is BatchNorm over heads.
    Parameters bear the names of official checkpoints. With `reattention_frozen` Theta and its bias keep their start.
    """

    var_norm: HeadNorm | None

    def make_parts(self, spec: AttentionSpec) -> None:
        """Theta and the norm."""
        self.map_scale = spec.head_dim**-0.5 if spec.option("reattention_scale") == "head_dim" else 1.0
        self.identity_init = spec.option("reattention_init") == "identity"
        self.reatten_matrix = nn.Conv2d(spec.num_heads, spec.num_heads, kernel_size=1)
        self.reatten_matrix.requires_grad_(not spec.option("reattention_frozen"))
        self.var_norm = HeadNorm(spec.num_heads) if spec.option("reattention_norm") == "batchnorm" else None

    def forward(self, x_BND: Tensor, context: ForwardContext | None = None) -> Tensor:
        """Attend over the tokens: [B,N,D] to [B,N,D]; no map is kept where nobody needs one and that is faster.

        On a GPU that is where the fused kernels pass their check. A compiled block is two graphs around it.
        """
        context = context or ForwardContext()
        if not (self._is_map_private(context) and (x_BND.is_cuda or _is_faster_without_maps(x_BND))):
            return super().forward(x_BND, context)
        q_BHNK, k_BHNK, v_BHNK = split_heads(self.qkv(x_BND), self.num_heads)
        q_BHNK, k_BHNK = self.q_norm(q_BHNK), self.k_norm(k_BHNK)
        theta_HH = self.head_mixing()
        mixed = _mix_without_maps(q_BHNK, k_BHNK, v_BHNK, theta_HH, self.scale)
        if mixed is None:
            kept_BND: Tensor = self.proj_drop(self.proj(merge_heads(self.attend(q_BHNK, k_BHNK, v_BHNK, context))))
            return kept_BND
        mixed_BHNK, square_H = mixed
        gain_H, constant_H = self._fold(square_H, theta_HH, x_BND, update=not context.is_recompute)
        out_BND: Tensor = self.proj_drop(self._project(mixed_BHNK, gain_H, v_BHNK.sum(dim=2), constant_H))
        return out_BND

    def _is_map_private(self, context: ForwardContext) -> bool:
        """Whether the map is nobody's business: not observed, dropped from, shared or changed."""
        is_simple = type(self) in (ReAttention, MixOnly) and not context.is_observed
        is_dropped = self.training and self.attn_drop.p > 0.0
        is_shared = self.var_norm is not None and self.var_norm.is_shared
        return is_simple and not (is_dropped or is_shared)

    def _fold(self, square_H: Tensor, theta_HH: Tensor, x_BND: Tensor, *, update: bool) -> tuple[Tensor, Tensor]:
        """What Theta's bias, the norm and the scale of the map come to: a gain and a constant a head, [H]."""
        num_images, num_tokens, _ = x_BND.shape
        bias_H = self.reatten_matrix.bias
        assert bias_H is not None
        if self.var_norm is not None and self.var_norm.training:
            theta_HH = theta_HH.detach()  # the norm takes the offset away
        offset_H = torch.add(bias_H, theta_HH.sum(dim=1), alpha=1.0 / num_tokens)
        if self.var_norm is None:
            return torch.full_like(offset_H, self.map_scale), offset_H * self.map_scale
        gain_H, constant_H = self.var_norm.fold(square_H, offset_H, num_images * num_tokens**2, update=update)
        return (gain_H, constant_H) if self.map_scale == 1.0 else (gain_H * self.map_scale, constant_H * self.map_scale)

    def _project(self, mixed_BHNK: Tensor, gain_H: Tensor, values_BHK: Tensor, constant_H: Tensor) -> Tensor:
        """proj(gain * mixed + constant * values); with the gain in the weight, values need one row an image.

        Under autocast gains are rounded in their product with the weight alone, and the row is not, until it is added.
        """
        weight_DHK = self.proj.weight.unflatten(1, (len(gain_H), -1)) * gain_H[:, None]
        with torch.autocast(mixed_BHNK.device.type, enabled=False):
            constant_BD = F.linear((values_BHK * constant_H[:, None]).flatten(1), self.proj.weight, self.proj.bias)
        out_BND = F.linear(merge_heads(mixed_BHNK), weight_DHK.flatten(1))
        return out_BND + constant_BD[:, None].to(out_BND.dtype)

    def change_map(self, map_BHNN: Tensor, *, may_move: bool, is_rounded: bool) -> Tensor:
        """Theta and BatchNorm, centred around 1/N where BatchNorm would amplify rounding errors."""
        normalize = self._normalize_centred if is_rounded else self._normalize
        map_BHNN = normalize(map_BHNN, may_move)
        return map_BHNN if self.map_scale == 1.0 else map_BHNN * self.map_scale

    def _normalize(self, map_BHNN: Tensor, update: bool) -> Tensor:
        """Theta and BatchNorm as published; a product of matrices is faster than the 1x1 convolution that it equals."""
        theta_BHH = self.head_mixing().expand(len(map_BHNN), -1, -1)
        bias_H = self.reatten_matrix.bias
        assert bias_H is not None
        mixed_BHNN = torch.baddbmm(bias_H[:, None], theta_BHH, map_BHNN.flatten(2)).view_as(map_BHNN)
        return mixed_BHNN if self.var_norm is None else self.var_norm(mixed_BHNN, update=update)

    def _normalize_centred(self, map_BHNN: Tensor, update: bool) -> Tensor:
        """The same from the map minus 1/N: Theta A + c = Theta (A - 1/N) + offset, offset = Theta 1/N + c."""
        theta_HH11, bias_H, num_tokens = self.reatten_matrix.weight, self.reatten_matrix.bias, map_BHNN.shape[-1]
        assert bias_H is not None
        theta_HH11, bias_H = theta_HH11.to(map_BHNN.dtype), bias_H.to(map_BHNN.dtype)
        mixed_BHNN = F.conv2d(map_BHNN - 1.0 / num_tokens, theta_HH11)
        offset_H = theta_HH11.sum(dim=(1, 2, 3)) / num_tokens + bias_H
        if self.var_norm is None:
            return mixed_BHNN + offset_H[:, None, None]
        return self.var_norm.forward_centred(mixed_BHNN, offset_H, update=update)

    def head_mixing(self) -> Tensor:
        """Theta [to, from], [H,H]."""
        return self.reatten_matrix.weight.flatten(1)

    def parameter_draws(self) -> Mapping[str, Draw]:
        """How parameters start that do not start as their module type does, by name."""
        return identity_draws("reatten_matrix") if self.identity_init else {}


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _mix_without_maps(
    q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, theta_HH: Tensor, scale: float
) -> tuple[Tensor, Tensor] | None:
    """`mix_values`, on a GPU by the fused kernels; None where those do not serve.

    Traced by a compiler, the loop over images would become a graph of thousands of nodes, and its maps would be kept.
    """
    if not q_BHNK.is_cuda:
        return mix_values(q_BHNK, k_BHNK, v_BHNK, theta_HH, scale)
    if not can_fuse(q_BHNK, k_BHNK, v_BHNK, theta_HH):
        return None
    return mix_fused(q_BHNK, k_BHNK, v_BHNK, theta_HH, scale)


def _is_faster_without_maps(x_BND: Tensor) -> bool:
    """On a CPU: for many tokens, in types whose rounding makes no difference."""
    is_rounded = x_BND.dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu")
    return x_BND.device.type == "cpu" and x_BND.shape[1] >= MAP_FREE_FROM and not is_rounded


class MixOnly(ReAttention):
    """Control: (Theta A + c) V with A = softmax(QK'/sqrt(K)); the mixing of Re-attention without its BatchNorm."""

    def make_parts(self, spec: AttentionSpec) -> None:
        """Theta alone."""
        super().make_parts(spec)
        self.var_norm, self.map_scale = None, 1.0


class LayerNormReAttention(MapAttention):
    """LN(Theta A) V with A = softmax(QK'/sqrt(K)), LayerNorm across the heads at every pair of tokens.

    The operator of vit-pytorch's `deepvit` (github.com/lucidrains/vit-pytorch), another one than that of the paper:
    Theta starts as N(0, 1) and has no bias. Its matrix is ours transposed: Theta[to, from].
    """

    def make_parts(self, spec: AttentionSpec) -> None:
        """Theta and the norm."""
        self.identity_init = spec.option("reattention_init") == "identity"
        self.reatten_matrix = nn.Conv2d(spec.num_heads, spec.num_heads, kernel_size=1, bias=False)
        self.reatten_matrix.requires_grad_(not spec.option("reattention_frozen"))
        self.layer_norm = HeadLayerNorm(spec.num_heads)

    def change_map(self, map_BHNN: Tensor, *, may_move: bool, is_rounded: bool) -> Tensor:
        """Theta, then LayerNorm over heads."""
        normalized_BHNN: Tensor = self.layer_norm(self.reatten_matrix(map_BHNN))
        return normalized_BHNN

    def head_mixing(self) -> Tensor:
        """Theta [to, from], [H,H]."""
        return self.reatten_matrix.weight[:, :, 0, 0]

    def parameter_draws(self) -> Mapping[str, Draw]:
        """Theta from a standard normal, or the identity."""
        if self.identity_init:
            return identity_draws("reatten_matrix", bias=False)
        return {"reatten_matrix.weight": lambda weight, generator: weight.normal_(generator=generator)}


def identity_draws(name: str, *, bias: bool = True) -> dict[str, Draw]:
    """A mixing that leaves every head as it is: the identity for a 1x1 convolution or a Linear, and zero bias."""

    def draw(weight: Tensor, _: object) -> None:
        nn.init.dirac_(weight) if weight.ndim > 2 else nn.init.eye_(weight)

    return {f"{name}.weight": draw} | ({f"{name}.bias": fill(0.0)} if bias else {})
