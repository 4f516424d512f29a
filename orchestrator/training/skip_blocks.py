"""A model and batches of labelled images in; the accuracy lost when one block is skipped out.

The blocks before the skipped one are run once a batch: the stream in front of each block is kept, with what earlier
blocks had left for later ones by then, so block l costs the blocks behind it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.models.context import ForwardContext
from orchestrator.models.vit import VisionTransformer

Place = tuple[Tensor, dict[str, Tensor]]
"""The stream in front of a block, and what the blocks before it have shared."""


@torch.no_grad()
def skip_acc_drops(
    model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> tuple[NDArray[np.float64], int]:
    """Accuracy of the whole model minus that without block l, [L], and the number of images.

    A skipped block adds nothing to the stream and leaves nothing for later blocks. The model is in evaluation mode and
    on `device`; batches are (images, labels).
    """
    blocks = list(model.blocks)
    num_right, num_images = np.zeros(len(blocks) + 1), 0
    for images, labels in batches:
        labels = labels.to(device)
        places = _places(model, images.to(device))
        logits = [_classify(model, place, start) for start, place in _starts(places)]
        num_right += [int((scores.argmax(dim=1) == labels).sum()) for scores in logits]
        num_images += len(labels)
    accuracy = num_right / max(1, num_images)
    return accuracy[-1] - accuracy[:-1], num_images


def _starts(places: list[Place]) -> list[tuple[int, Place]]:
    """For each block, the stream in front of it and the block behind it; last, the end of the whole model."""
    last = len(places) - 1
    return [*((idx + 1, places[idx]) for idx in range(last)), (last, places[last])]


def _places(model: VisionTransformer, images: Tensor) -> list[Place]:
    """In front of every block, and behind the last."""
    context = ForwardContext()
    stream = model.embed(images)
    places = [(stream, dict(context.shared))]
    for block in model.blocks:
        stream = block.forward(stream, context)  # compiled for no batch of its own
        places.append((stream, dict(context.shared)))
    return places


def _classify(model: VisionTransformer, place: Place, start: int) -> Tensor:
    """Logits when the blocks from `start` on read the stream of `place`."""
    stream, shared = place
    context = ForwardContext(shared=dict(shared))
    for block in list(model.blocks)[start:]:
        stream = block.forward(stream, context)  # compiled for no batch of its own
    logits: Tensor = model.forward_head(model.norm(stream))
    return logits
