"""An `AttentionSpec` in; attention whose heads are mixed before and after the softmax out.

Shape suffixes: B batch, N tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from orchestrator.models.context import ForwardContext
from orchestrator.models.reattention import identity_draws
from orchestrator.models.softmax_attention import AttentionSpec, Draw, MapAttention


class TalkingHeads(MapAttention):
    """(P_w softmax(P_l QK'/sqrt(K) + c_l) + c_w) V, heads mixed on both sides (arXiv 2003.02436; CaiT, 2103.17239).

    Follows timm's CaiT, names of parameters and start included: both mixings are Linear layers over heads with bias,
    without norm, and dropout acts on the mixed map.
    """

    drops_last = True

    def make_parts(self, spec: AttentionSpec) -> None:
        """Both mixings."""
        self.identity_init = spec.option("reattention_init") == "identity"
        self.proj_l = nn.Linear(spec.num_heads, spec.num_heads)
        self.proj_w = nn.Linear(spec.num_heads, spec.num_heads)
        for mixing in (self.proj_l, self.proj_w):
            mixing.requires_grad_(not spec.option("reattention_frozen"))

    def change_logits(self, logits_BHNN: Tensor, context: ForwardContext) -> Tensor:
        """The logits of the heads, mixed."""
        return mix_heads(self.proj_l, logits_BHNN)

    def change_map(self, map_BHNN: Tensor, *, may_move: bool, is_rounded: bool) -> Tensor:
        """The softmax maps of the heads, mixed."""
        return mix_heads(self.proj_w, map_BHNN)

    def head_mixing(self) -> Tensor:
        """The mixing after the softmax [to, from], [H,H]."""
        return self.proj_w.weight

    def parameter_draws(self) -> Mapping[str, Draw]:
        """Both mixings start as any Linear of the model does, or at the identity."""
        return identity_draws("proj_l") | identity_draws("proj_w") if self.identity_init else {}


def mix_heads(mixing: nn.Linear, map_BHNN: Tensor) -> Tensor:
    """A Linear layer over the heads."""
    mixed_BNNH: Tensor = mixing(map_BHNN.permute(0, 2, 3, 1))
    return mixed_BNNH.permute(0, 3, 1, 2)
