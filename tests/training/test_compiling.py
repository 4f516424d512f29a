"""Compiled blocks: a graph for each kind of block, the same numbers, no maps where the plain model has none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from orchestrator.cost import num_tokens
from orchestrator.models import ForwardContext, build_model, reattention
from orchestrator.models.vit import VisionTransformer
from orchestrator.record import EpochMetrics
from orchestrator.training import compiling
from orchestrator.training.compiling import compile_blocks
from orchestrator.training.loop import Settings, train
from orchestrator.training.skip_blocks import skip_acc_drops
from orchestrator.trial import Trial
from tests.models.trials import make_trial

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
"""torch hides this one itself, unless warnings are errors."""

TOLERANCE = 1e-5
"""Relative, of losses after an epoch: without generated kernels a compiled block only rounds otherwise."""

MANY_TOKENS = {"img_size": 32}
"""Which makes as many tokens as need no map."""


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounterWithBackend]:
    """Counts graphs, and generates no kernels."""
    counting = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(compiling, "BACKEND", counting)
    with torch._dynamo.config.patch(recompile_limit=torch._dynamo.config.recompile_limit):
        yield counting
    torch._dynamo.reset()


def models(depth: int = 10, **options: Any) -> tuple[VisionTransformer, VisionTransformer]:
    """Plain and compiled."""
    plain, compiled = (build_model(make_trial(depth=depth, **options)).train() for _ in range(2))
    compile_blocks(compiled)
    return plain, compiled


def images(num: int = 4, side: int = 8) -> Tensor:
    return torch.randn(num, 1, side, side, generator=torch.Generator().manual_seed(0))


def stepped(model: VisionTransformer, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output and gradients of a step whose draws are always the same."""
    torch.manual_seed(5)
    out = model(x)
    out.square().sum().backward()
    return out, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize(
    ("options", "num_graphs"),
    [
        ({"attention": "self"}, 1),
        ({"attention": "reattention"}, 1),
        ({"attention": "reattention", **MANY_TOKENS}, 4),
        ({"attention": "talking_heads"}, 1),
        ({"attention": "value_residual"}, 2),
        pytest.param({"attention": "differential"}, 10, marks=pytest.mark.slow),
        ({"attention": "self", "drop_path_rate": 0.3, "proj_drop_rate": 0.1}, None),
    ],
    ids=str,
)
def test_blocks_that_are_alike_share_their_graphs(
    options: dict[str, Any], num_graphs: int | None, counter: CompileCounterWithBackend
) -> None:
    plain, compiled = models(**options)
    x = images(side=int(options.get("img_size", 8)))
    torch.testing.assert_close(stepped(compiled, x), stepped(plain, x), rtol=1e-5, atol=1e-6)
    seen = counter.frame_count
    assert seen == num_graphs if num_graphs is not None else seen < 10
    stepped(compiled, x)
    assert counter.frame_count == seen


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_depth_adds_no_graph(attention: str, counter: CompileCounterWithBackend) -> None:
    counts = []
    for depth in (2, 12):
        before = counter.frame_count
        stepped(models(depth=depth, attention=attention)[1], images())
        counts.append(counter.frame_count - before)
    assert counts == [1, 1]


def test_a_compiled_re_attention_keeps_no_map_where_the_plain_one_keeps_none(
    counter: CompileCounterWithBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = images(8, 32)

    def largest_kept() -> int:
        kept = []
        _, compiled = models(depth=2, attention="reattention", **MANY_TOKENS)
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
            compiled(x)
        return max(kept)

    model = make_trial(**MANY_TOKENS).model
    map_size = len(x) * model.num_heads * num_tokens(model) ** 2
    assert largest_kept() < map_size / 2
    assert counter.frame_count > 0
    monkeypatch.setattr(reattention, "MAP_FREE_FROM", 10**9)
    assert largest_kept() >= map_size


def test_what_is_observed_is_not_compiled(counter: CompileCounterWithBackend) -> None:
    plain, compiled = models(depth=2, attention="reattention")
    found, expected = [], []
    for model, seen in ((compiled, found), (plain, expected)):
        model(images(), context=ForwardContext(observer=lambda idx, name, x, seen=seen: seen.append((idx, name, x))))
    assert counter.frame_count == 0
    assert [(idx, name) for idx, name, _ in found] == [(idx, name) for idx, name, _ in expected]
    assert all(torch.equal(one[2], other[2]) for one, other in zip(found, expected, strict=True))


def test_blocks_are_skipped_without_compiling(counter: CompileCounterWithBackend) -> None:
    plain, compiled = (model.eval() for model in models(depth=2))
    batches = [(images(), torch.zeros(4, dtype=torch.int64))]
    (found, _), (expected, _) = (skip_acc_drops(model, batches, torch.device("cpu")) for model in (compiled, plain))
    assert (found == expected).all()
    assert counter.frame_count == 0


@pytest.mark.parametrize(
    "changes",
    [{}, {"attention": "reattention", "drop_path_rate": 0.2}, {"attention": "reattention", "patch_size": 1}],
    ids=str,
)
def test_a_compiled_training_is_the_same_one_within_the_tolerance(
    changes: dict[str, Any], counter: CompileCounterWithBackend, tiny_trial: Trial
) -> None:
    def rows(*, is_compiled: bool) -> list[EpochMetrics]:
        recipe = replace(tiny_trial.train, epochs=1, batch_size=256, ema_decay=0.5)
        trial = replace(tiny_trial, model=replace(tiny_trial.model, **changes), train=recipe)
        return list(train(trial, settings=Settings(compile=is_compiled)))

    (found,), (expected,) = rows(is_compiled=True), rows(is_compiled=False)
    assert counter.frame_count > 0
    assert found.train_loss == pytest.approx(expected.train_loss, rel=TOLERANCE)
    assert found.val_loss == pytest.approx(expected.val_loss, rel=TOLERANCE)
