"""An `AttentionSpec` in; an attention with one half of what BatchNorm does to a map out, and no mixing of heads.

Beside Re-attention these tell mixing from normalising. Shape suffixes: B batch, N tokens, H heads.
"""

from __future__ import annotations

from torch import Tensor

from orchestrator.models.head_norm import HeadGain, HeadNorm
from orchestrator.models.softmax_attention import AttentionSpec, MapAttention


class BatchNormOnly(MapAttention):
    """Control: BN(A) V with A = softmax(QK'/sqrt(K)); Re-attention with Theta fixed at the identity."""

    def make_parts(self, spec: AttentionSpec) -> None:
        """The norm of Re-attention."""
        self.var_norm = HeadNorm(spec.num_heads)

    def change_map(self, map_BHNN: Tensor, *, may_move: bool, is_rounded: bool) -> Tensor:
        """BatchNorm over heads, centred around 1/N where it would amplify rounding errors."""
        if not is_rounded:
            normalized_BHNN: Tensor = self.var_norm(map_BHNN, update=may_move)
            return normalized_BHNN
        mean = 1.0 / map_BHNN.shape[-1]
        offset_H = map_BHNN.new_full((self.num_heads,), mean)
        return self.var_norm.forward_centred(map_BHNN - mean, offset_H, update=may_move)


class CentreOnly(MapAttention):
    """Control: (A - 1/N) V with A = softmax(QK'/sqrt(K)); the average-pooling part is gone, the size stays."""

    def change_map(self, map_BHNN: Tensor, *, may_move: bool, is_rounded: bool) -> Tensor:
        """The map minus its mean, which is 1/N because every softmax row sums to 1."""
        return map_BHNN - 1.0 / map_BHNN.shape[-1]


class GainOnly(MapAttention):
    """Control: gamma_h A / sqrt(var_h + eps) V, A = softmax(QK'/sqrt(K)); BatchNorm's size without its centring.

    var_h is the variance that BatchNorm divides by: of head h over the batch and both token axes in training (its
    gradient included), a running mean of it in evaluation. No mean is subtracted and no beta is added.
    """

    def make_parts(self, spec: AttentionSpec) -> None:
        """The gain of Re-attention's norm."""
        self.var_gain = HeadGain(spec.num_heads)

    def change_map(self, map_BHNN: Tensor, *, may_move: bool, is_rounded: bool) -> Tensor:
        """The map over the standard deviation of each head."""
        scaled_BHNN: Tensor = self.var_gain(map_BHNN, update=may_move)
        return scaled_BHNN
