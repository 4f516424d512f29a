"""What blocks hand to each other lives for one forward pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orchestrator.models import ForwardContext, build_model
from tests.models.trials import make_trial


class Remembering(nn.Module):
    """Adds what the first block of this very pass saw."""

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        return x + context.shared.setdefault("first", x)


def remembering_model():
    model = build_model(make_trial()).eval()
    for block in model.blocks:
        block.attn = Remembering()
    return model


def test_a_pass_knows_nothing_of_the_pass_before():
    model = remembering_model()
    first, second = torch.randn(2, 3, 1, 8, 8)
    expected = model(second)
    model(first)
    assert torch.equal(model(second), expected)


def test_later_blocks_see_what_the_first_one_left():
    model, x = remembering_model(), torch.randn(3, 1, 8, 8)
    context = ForwardContext()
    model.forward_features(x, context=context)
    tokens = model._pos_embed(model.patch_embed(x))
    assert torch.equal(context.shared["first"], model.blocks[0].norm1(tokens))


def test_observing_without_an_observer_does_nothing():
    context = ForwardContext()
    context.observe(0, "map", torch.zeros(1))
    assert not context.is_observed
    assert context.shared == {}


def test_an_observer_gets_block_name_and_tensor_in_order():
    seen: list[tuple[int, str]] = []
    context = ForwardContext(observer=lambda block_idx, name, _: seen.append((block_idx, name)))
    build_model(make_trial(depth=2, attention="reattention")).forward_features(torch.randn(1, 1, 8, 8), context=context)
    block = ["softmax", "map", "tokens"]
    assert seen == [(-1, "tokens"), *[(block_idx, name) for block_idx in range(2) for name in block]]
