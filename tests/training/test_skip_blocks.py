from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.catalog import ATTENTIONS
from orchestrator.models import build_model
from orchestrator.models.context import ForwardContext
from orchestrator.models.vit import VisionTransformer
from orchestrator.training.skip_blocks import _classify, _places, _starts, skip_acc_drops
from tests.models.trials import make_trial


def network(attention: str, depth: int = 4) -> VisionTransformer:
    model = build_model(make_trial(attention=attention, depth=depth, init_std=0.3))
    return model.eval()


def images_of(num_images: int) -> torch.Tensor:
    return torch.randn(num_images, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def logits_without(model: VisionTransformer, images: torch.Tensor, skipped: int | None) -> torch.Tensor:
    """From the start, with every other block in a row."""
    context, stream = ForwardContext(), model.embed(images)
    for block_idx, block in enumerate(model.blocks):
        if block_idx != skipped:
            stream = block(stream, context)
    return model.forward_head(model.norm(stream))


@pytest.mark.parametrize("attention", sorted(ATTENTIONS))
@torch.no_grad()
def test_a_kept_prefix_gives_what_running_the_other_blocks_gives(attention: str) -> None:
    """For attentions that share values or logits over blocks too."""
    model, images = network(attention), images_of(6)
    starts = _starts(_places(model, images))
    assert len(starts) == 5
    for skipped, (start, place) in zip([0, 1, 2, 3, None], starts, strict=True):
        torch.testing.assert_close(_classify(model, place, start), logits_without(model, images, skipped))
    torch.testing.assert_close(_classify(model, starts[-1][1], starts[-1][0]), model(images))


def test_drops_are_differences_of_accuracy_over_all_batches() -> None:
    model, images = network("self"), images_of(20)
    labels = model(images).argmax(dim=1)
    labels[:5] = (labels[:5] + 1) % 10  # the whole model is right on 15 of 20
    batches = list(zip(images.split(8), labels.split(8), strict=True))
    drops, num_images = skip_acc_drops(model, batches, torch.device("cpu"))
    assert num_images == 20
    for skipped in range(4):
        accuracy = (logits_without(model, images, skipped).argmax(dim=1) == labels).double().mean()
        assert drops[skipped] == pytest.approx(0.75 - float(accuracy))
    assert (drops != 0).any()


def test_a_block_that_adds_nothing_costs_nothing_when_skipped() -> None:
    model, images = network("reattention"), images_of(20)
    idle = model.blocks[2]
    with torch.no_grad():
        for layer in (idle.attn.proj, idle.mlp.fc2):
            layer.weight.zero_()
            layer.bias.zero_()
    labels = model(images).argmax(dim=1)
    drops, _ = skip_acc_drops(model, [(images, labels)], torch.device("cpu"))
    assert drops[2] == 0.0


def test_blocks_run_once_for_the_prefix_and_once_for_each_skipped_block_before_them() -> None:
    model, calls = network("self", depth=5), np.zeros(5, dtype=int)
    for block_idx, block in enumerate(model.blocks):
        block.norm1.register_forward_hook(lambda *_, idx=block_idx: calls.__setitem__(idx, calls[idx] + 1))
    skip_acc_drops(model, [(images_of(4), torch.zeros(4, dtype=torch.int64))], torch.device("cpu"))
    assert calls.tolist() == [1, 2, 3, 4, 5]


def test_without_images_nothing_is_measured() -> None:
    drops, num_images = skip_acc_drops(network("self"), [], torch.device("cpu"))
    assert num_images == 0
    assert drops.shape == (4,)
