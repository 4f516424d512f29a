"""Images and targets in; the loss that training descends and the cross-entropy in it out.

The two differ where the recipe penalises attention maps for being alike: DeepViT's cosine regulariser, as its code has
it and as its paper defines similarity. Shape suffixes: B batch, N tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from orchestrator.errors import TrainingError
from orchestrator.models import ForwardContext
from orchestrator.trial import Trial


class Objective:
    """The loss of one trial.

    Args:
        forward: the model; called with a `context` where maps are looked at.
        is_mixed: whether mixup or CutMix makes the targets.
    """

    def __init__(self, forward: Callable[..., Tensor], trial: Trial, *, is_mixed: bool) -> None:
        recipe = trial.train
        self.forward, self.attention = forward, trial.model.attention
        self.smoothing = 0.0 if is_mixed else recipe.label_smoothing
        self.weight, self.axis = recipe.cos_reg_weight, PENALISED_AXES.get(recipe.cos_reg or "")
        is_active = recipe.cos_reg == "paper" or (recipe.cos_reg == "released" and is_mixed)
        self.pairs = penalised_pairs(trial) if is_active else ()

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss to descend, and the cross-entropy alone, both averaged over the images."""
        if not self.pairs:
            loss = F.cross_entropy(self.forward(images), targets, label_smoothing=self.smoothing)
            return loss, loss
        maps: dict[int, Tensor] = {}
        wanted = {block_idx for pair in self.pairs for block_idx in pair}

        def keep(block_idx: int, name: str, tensor: Tensor) -> None:
            if name == "map" and block_idx in wanted:
                maps[block_idx] = tensor

        logits = self.forward(images, context=ForwardContext(observer=keep))
        loss = F.cross_entropy(logits, targets, label_smoothing=self.smoothing)
        if missing := sorted(wanted - maps.keys()):
            raise TrainingError(
                f"cos_reg needs the map of block {missing[0]}, and attention {self.attention!r} shows none; "
                'let it call context.observe(block_idx, "map", map) or remove cos_reg'
            )
        assert self.weight is not None
        assert self.axis is not None
        return loss + self.weight * mean_cosine(maps, self.pairs, self.axis), loss


PENALISED_AXES = {"released": 1, "paper": 2}
"""The axis of [B,H,N,N] along which two maps are compared: the heads, or the queries of one key's column."""


def penalised_pairs(trial: Trial) -> tuple[tuple[int, int], ...]:
    """Consecutive blocks whose maps are compared: the first n pairs as released, those of the last k blocks per paper.

    Raises:
        TrainingError: the model has fewer blocks than that, or fewer than two.
    """
    depth, num_blocks = trial.model.depth, trial.train.cos_reg_blocks
    if trial.train.cos_reg == "released":
        first, last = 0, depth - 1 if num_blocks is None else num_blocks
    else:
        first, last = depth - (depth if num_blocks is None else num_blocks), depth - 1
    if first < 0 or last >= depth or first >= last:
        raise TrainingError(f"cos_reg {trial.train.cos_reg} over {num_blocks} blocks does not fit depth {depth}")
    return tuple((block_idx, block_idx + 1) for block_idx in range(first, last))


def mean_cosine(maps: dict[int, Tensor], pairs: tuple[tuple[int, int], ...], axis: int) -> Tensor:
    """Cosine along `axis` between two blocks' maps [B,H,N,N], averaged over all else and over pairs; in float32.

    With axis 2 the mean of DeepViT's M (arXiv 2103.11886, section 3): how alike the columns of both maps are.
    """
    with torch.autocast(next(iter(maps.values())).device.type, enabled=False):
        cosines = [F.cosine_similarity(_exact(maps[p]), _exact(maps[q]), dim=axis).mean() for p, q in pairs]
        return torch.stack(cosines).mean()


def _exact(map_BHNN: Tensor) -> Tensor:
    return map_BHNN if map_BHNN.dtype == torch.float64 else map_BHNN.float()
