"""The tokens of all blocks for one batch in; sums of HSIC out, of which linear CKA is the ratio.

Minibatch CKA (Nguyen et al., arXiv 2010.15327; used on transformers in arXiv 2108.08810): unbiased HSIC (Song et al.
2012) is averaged over batches first, and the ratio is taken of the averages. Shape suffixes: L blocks, B images.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.training.streaming import times

MIN_IMAGES = 4
"""Unbiased HSIC divides by B - 3."""


def hsic_totals(features_LBF: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """`hsic`: unbiased HSIC of every two blocks for the linear kernel, [L,L], and 1; 0 of 0 below four images.

    Args:
        features_LBF: all tokens of an image side by side, float64.
    """
    num_images = features_LBF.shape[1]
    num_blocks = len(features_LBF)
    if num_images < MIN_IMAGES:
        nothing = features_LBF.new_zeros(num_blocks, num_blocks)
        return {"hsic": (nothing, times(0, nothing))}
    # HSIC does not change when features move; around their mean there is less to cancel.
    centred_LBF = features_LBF - features_LBF.mean(dim=1, keepdim=True)
    kernel_LBB = centred_LBF @ centred_LBF.transpose(1, 2)
    kernel_LBB = kernel_LBB - torch.diag_embed(kernel_LBB.diagonal(dim1=1, dim2=2))
    rows_LB = kernel_LBB.sum(dim=2)
    total_L = rows_LB.sum(dim=1)
    flat = kernel_LBB.flatten(1)
    trace_LL = flat @ flat.T
    sums_LL = torch.outer(total_L, total_L) / ((num_images - 1) * (num_images - 2))
    rows_LL = 2.0 / (num_images - 2) * (rows_LB @ rows_LB.T)
    hsic_LL = (trace_LL + sums_LL - rows_LL) / (num_images * (num_images - 3))
    return {"hsic": (hsic_LL, times(1, hsic_LL))}


def linear_cka(hsic_LL: NDArray[np.float64]) -> NDArray[np.float64]:
    """HSIC(p,q) / sqrt(HSIC(p,p) HSIC(q,q)); NaN for a block whose own HSIC is not positive."""
    own_L = np.diagonal(hsic_LL)
    scale_L = np.sqrt(np.where(own_L > 0, own_L, np.nan))
    cka_LL: NDArray[np.float64] = hsic_LL / np.outer(scale_L, scale_L)
    return cka_LL
