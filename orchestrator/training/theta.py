"""The attentions of a model in; what their mixing of heads and their norms do to a map out.

An attention that mixes heads says so itself: its method `head_mixing()` gives the matrix [to, from] that mixes the map
after the softmax. A norm over heads is a `HeadNorm`, or a `HeadGain`, which is its factor without the rest.
Shape suffixes: H heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.models.head_norm import HeadGain, HeadNorm

Array = NDArray[np.float64]


def mixing_of(attn: nn.Module) -> Tensor | None:
    """The matrix [H,H] that mixes the heads of this attention's map, or None for one that mixes none."""
    head_mixing = getattr(attn, "head_mixing", None)
    found: Tensor | None = None if head_mixing is None else head_mixing()
    return found


def norm_of(attn: nn.Module) -> HeadNorm | HeadGain | None:
    """The BatchNorm over the heads of this attention's map, or None."""
    return next((module for module in attn.modules() if isinstance(module, HeadNorm | HeadGain)), None)


@torch.no_grad()
def theta_arrays(attns: Sequence[nn.Module], num_heads: int) -> dict[str, Array]:
    """`theta_identity_distance` [L], |Theta - I| / |I|, and `theta_singular_values` [L,H], largest first; else NaN."""
    distance, singular = np.full(len(attns), np.nan), np.full((len(attns), num_heads), np.nan)
    for block_idx, attn in enumerate(attns):
        mixing = mixing_of(attn)
        if mixing is None or mixing.shape != (num_heads, num_heads):
            continue
        theta_HH = mixing.detach().double().cpu()
        distance[block_idx] = float(torch.linalg.norm(theta_HH - torch.eye(num_heads)) / num_heads**0.5)
        if theta_HH.isfinite().all():
            singular[block_idx] = torch.linalg.svdvals(theta_HH).numpy()
    return {"theta_identity_distance": distance, "theta_singular_values": singular}


@torch.no_grad()
def gain(norm: HeadNorm | HeadGain, var_H: Tensor) -> Tensor:
    """BatchNorm's factor on each head, gamma / sqrt(variance + eps), float64."""
    return norm.weight.double() / (var_H.double() + norm.eps).sqrt()
