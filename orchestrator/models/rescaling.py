"""An `AttentionSpec` in; attention that learns the sharpness, or the high-pass share, of what it computes out.

Shape suffixes: B batch, N tokens, D embed_dim, H heads, K head_dim.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from orchestrator.models.softmax_attention import AttentionSpec, Draw, MapAttention, SoftmaxAttention, fill


class TemperatureAttention(SoftmaxAttention):
    """softmax(QK'/(T_h sqrt(K))) V with a temperature a head, T_h = exp(t_h) and t_h = 0 at the start.

    The learnable temperature that DeepViT compares with (arXiv 2103.11886); the exponential keeps it positive.
    """

    def make_parts(self, spec: AttentionSpec) -> None:
        """Log temperature of each head."""
        self.log_temperature = nn.Parameter(torch.zeros(spec.num_heads))

    def change_queries(self, q_BHNK: Tensor) -> Tensor:
        """Queries over their head's temperature."""
        return (q_BHNK * torch.exp(-self.log_temperature)[:, None, None]).to(q_BHNK.dtype)

    def parameter_draws(self) -> Mapping[str, Draw]:
        """Temperature 1."""
        return {"log_temperature": fill(0.0)}


class AttnScale(MapAttention):
    """(1/N + (1 + w_h)(A - 1/N)) V with A = softmax(QK'/sqrt(K)), w = 0 at the start (arXiv 2203.05962).

    As released, dropout acts on the scaled map.
    """

    drops_last = True

    def make_parts(self, spec: AttentionSpec) -> None:
        """Weight of each head's high-pass part."""
        self.lamb = nn.Parameter(torch.zeros(spec.num_heads))

    def change_map(self, map_BHNN: Tensor, *, may_move: bool, is_rounded: bool) -> Tensor:
        """The part above the mean, scaled."""
        mean = 1.0 / map_BHNN.shape[-1]
        return (map_BHNN - mean) * (1.0 + self.lamb[:, None, None]) + mean

    def parameter_draws(self) -> Mapping[str, Draw]:
        """No change."""
        return {"lamb": fill(0.0)}


class FeatScale(SoftmaxAttention):
    """O + s mean(O) + t (O - mean(O)) with O the attention's output, s and t a channel, 0 at the start (2203.05962).

    The mean is over tokens. The correction is added once, as the paper has it.
    """

    def make_parts(self, spec: AttentionSpec) -> None:
        """Weights of the mean over tokens and of what is left."""
        self.lamb1, self.lamb2 = (nn.Parameter(torch.zeros(spec.dim)) for _ in range(2))

    def change_output(self, out_BND: Tensor) -> Tensor:
        """Both parts, scaled channel by channel."""
        mean_B1D = out_BND.mean(dim=1, keepdim=True)
        return out_BND + self.lamb1 * mean_B1D + self.lamb2 * (out_BND - mean_B1D)

    def parameter_draws(self) -> Mapping[str, Draw]:
        """No change."""
        return {"lamb1": fill(0.0), "lamb2": fill(0.0)}
