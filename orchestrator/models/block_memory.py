"""An `AttentionSpec` in; attention that uses what an earlier block computed out, handed on by `context.shared`.

In the first block each of them is plain self-attention. Shape suffixes: B batch, N tokens, H heads, K head_dim.
"""

from __future__ import annotations

from torch import Tensor

from orchestrator.models.context import ForwardContext
from orchestrator.models.softmax_attention import AttentionSpec, MapAttention, SoftmaxAttention

FIRST_VALUES, LAST_LOGITS = "first_values", "last_logits"
"""What is shared: the first block's values [B,H,N,K], and the logits of the block before [B,H,N,N]."""


class ValueResidual(SoftmaxAttention):
    """A (m V_first + (1 - m) V) with the first block's values and m = `value_residual_mix` (ResFormer, 2410.17897)."""

    def make_parts(self, spec: AttentionSpec) -> None:
        """The share of the first block's values."""
        self.mix = float(spec.option("value_residual_mix"))

    def change_values(self, v_BHNK: Tensor, context: ForwardContext) -> Tensor:
        """Values mixed with those of the first block."""
        first_BHNK = context.shared.setdefault(FIRST_VALUES, v_BHNK)
        return v_BHNK if first_BHNK is v_BHNK else self.mix * first_BHNK + (1.0 - self.mix) * v_BHNK


class Neutreno(SoftmaxAttention):
    """A V + lambda (V_first - V) with the first block's values and lambda = `neutreno_lambda` (arXiv 2312.00751)."""

    def make_parts(self, spec: AttentionSpec) -> None:
        """The weight of the difference."""
        self.weight = float(spec.option("neutreno_lambda"))

    def attend(self, q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, context: ForwardContext) -> Tensor:
        """Softmax attention, pulled towards the first block's values."""
        heads_BHNK = super().attend(q_BHNK, k_BHNK, v_BHNK, context)
        first_BHNK = context.shared.setdefault(FIRST_VALUES, v_BHNK)
        return heads_BHNK if first_BHNK is v_BHNK else heads_BHNK + self.weight * (first_BHNK - v_BHNK)


class RealFormer(MapAttention):
    """softmax(S_l) V with S_l = QK'/sqrt(K) + S_(l-1), a running sum of logits over blocks (arXiv 2012.11747)."""

    def change_logits(self, logits_BHNN: Tensor, context: ForwardContext) -> Tensor:
        """Logits plus those of the block before; in float32 under bf16."""
        previous_BHNN = context.shared.get(LAST_LOGITS)
        if previous_BHNN is not None:
            logits_BHNN = logits_BHNN + previous_BHNN
        context.shared[LAST_LOGITS] = logits_BHNN
        return logits_BHNN
