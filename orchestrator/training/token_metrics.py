"""The residual stream before the first block and after each one, for one batch, in; sums of what became of it out.

All are of the patch tokens of one image, averaged over images. Shape suffixes: L blocks, B images, P patch tokens, D
embed_dim.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.training.streaming import times


def token_totals(stream_SBPD: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Totals over the images of one batch, [L], and how many there are.

    `token_cosine.raw`: mean cosine between different tokens, (|sum u|^2 - P) / (P (P - 1)) with u of length 1;
    `token_cosine.centred`: the same of X - 1 x', x' the mean token; `rank_residual`: |X - 1 x'| / |X|, Frobenius;
    `effective_rank`: exp(-sum p log p), p the singular values of X over their sum (Roy and Vetterli 2007);
    `update_size` and `update_cosine`: |f| / |x| and the cosine of f and x, mean over tokens, where a block adds the
    vector f to the token x.

    Args:
        stream_SBPD: [L+1,B,P,D] float64, the input of the first block in front.
    """
    after_LBPD, before_LBPD = stream_SBPD[1:], stream_SBPD[:-1]
    mean_LB1D = after_LBPD.mean(dim=2, keepdim=True)
    centred_LBPD = after_LBPD - mean_LB1D
    found_LB = {
        "token_cosine.raw": _mean_cosine(after_LBPD),
        "token_cosine.centred": _mean_cosine(centred_LBPD),
        "rank_residual": _norm(centred_LBPD.flatten(2)) / _norm(after_LBPD.flatten(2)),
        "effective_rank": _effective_rank(after_LBPD),
        **_updates(before_LBPD, after_LBPD),
    }
    num_images = times(after_LBPD.shape[1], after_LBPD)
    return {name: (values_LB.sum(dim=1), num_images) for name, values_LB in found_LB.items()}


def _norm(values: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norms


def _mean_cosine(tokens_LBPD: Tensor) -> Tensor:
    """[L,B], over pairs of different tokens, without the P x P products; NaN for a single token."""
    num_tokens = tokens_LBPD.shape[2]
    unit_LBPD = torch.nn.functional.normalize(tokens_LBPD, dim=3, eps=1e-300)
    all_LB, same_LB = unit_LBPD.sum(dim=2).square().sum(dim=2), unit_LBPD.square().sum(dim=(2, 3))
    num_pairs = num_tokens * (num_tokens - 1)
    return (all_LB - same_LB) / (num_pairs or torch.nan)


def _effective_rank(tokens_LBPD: Tensor) -> Tensor:
    """[L,B], from the eigenvalues of the smaller Gram matrix; NaN where a token is not finite."""
    num_tokens, dim = tokens_LBPD.shape[2:]
    rows = tokens_LBPD if num_tokens <= dim else tokens_LBPD.transpose(2, 3)
    gram = rows @ rows.transpose(2, 3)
    is_finite_LB = gram.isfinite().all(dim=3).all(dim=2)
    finite = torch.where(is_finite_LB[:, :, None, None], gram, 0.0)
    squares = torch.linalg.eigvalsh(finite.cpu()).to(gram.device)  # a GPU takes seconds for hundreds of small matrices
    singular = squares.clamp_min(0.0).sqrt()
    share = singular / singular.sum(dim=2, keepdim=True)
    rank_LB = torch.special.entr(share).sum(dim=2).exp()
    return torch.where(is_finite_LB, rank_LB, torch.nan)


def _updates(before_LBPD: Tensor, after_LBPD: Tensor) -> dict[str, Tensor]:
    update_LBPD = after_LBPD - before_LBPD
    size_LBP, stream_LBP = _norm(update_LBPD), _norm(before_LBPD)
    product_LBP = torch.linalg.vecdot(update_LBPD, before_LBPD)
    cosine_LBP = product_LBP / (size_LBP * stream_LBP).clamp_min(1e-300)
    return {"update_size": (size_LBP / stream_LBP).mean(dim=2), "update_cosine": cosine_LBP.mean(dim=2)}
