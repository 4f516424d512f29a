"""A model and a split in; its loss, its accuracy and which images it has right, out.

Several processes take whole batches in turn, so every image goes through the forward pass that it would go through in
one process, and sums are made in the order of the batches: no number depends on how many processes there are.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from orchestrator.training.augment import eval_batches
from orchestrator.training.data import Dataset, Split
from orchestrator.training.shards import Shards
from orchestrator.trial import Trial


@torch.no_grad()
def evaluate(
    model: nn.Module,
    split: Split,
    data: Dataset,
    trial: Trial,
    *,
    device: torch.device,
    shards: Shards,
    num_loader_workers: int = 0,
) -> tuple[float, float, np.ndarray]:
    """Mean cross-entropy, accuracy in 0..1, and [num_images] bool in the order of the split.

    Raises:
        DataError: an image cannot be read; the message names it.
    """
    was_training = model.training
    model.eval()
    batch_size = trial.train.batch_size
    losses = torch.zeros(-(-len(split) // batch_size), dtype=torch.float64, device=device)
    hits = torch.zeros(len(split), dtype=torch.uint8, device=device)
    own = range(shards.rank, len(losses), shards.size)
    batches = eval_batches(
        split, data, trial, num_workers=num_loader_workers, every=(shards.rank, shards.size), device=device
    )
    for index, (images, labels) in zip(own, batches, strict=True):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=trial.train.precision == "bf16"):
            logits = model(images)
        losses[index] = F.cross_entropy(logits.float(), labels, reduction="sum")
        hits[index * batch_size : index * batch_size + len(labels)] = logits.argmax(dim=1) == labels
    model.train(was_training)
    loss_sum = 0.0
    for loss in shards.total(losses).tolist():
        loss_sum += loss
    is_correct = shards.total(hits).cpu().numpy().astype(bool)
    return loss_sum / len(split), float(is_correct.mean()), is_correct
