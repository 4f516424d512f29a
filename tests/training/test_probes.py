"""The probes of a model against loops, and the laws they obey."""

from __future__ import annotations

import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from orchestrator.catalog import ATTENTIONS
from orchestrator.configs import DataConfig, ModelConfig, TrainConfig
from orchestrator.errors import TrainingError
from orchestrator.models import build_model
from orchestrator.models.context import ForwardContext
from orchestrator.models.vit import VisionTransformer
from orchestrator.probe_catalog import PROBES
from orchestrator.training.probes import MAX_BATCH, MIN_BATCH, batch_sizes, probe_model
from orchestrator.trial import Trial
from tests.training import probe_reference as reference

TIMES = {"probe_time_s", "skip_time_s"}
NUM_CLASSES = 3


def trial_of(attention: str = "self", **model) -> Trial:
    shape = {"depth": 5, "embed_dim": 12, "num_heads": 3, "patch_size": 4, "img_size": 8} | model
    return Trial(
        model=ModelConfig(attention=attention, init_std=0.2, **shape),
        data=DataConfig(name="digits", num_classes=NUM_CLASSES, in_chans=1, test_fraction=0.2),
        train=TrainConfig(epochs=1, batch_size=4, lr=1e-3),
        seed=0,
    )


def network(attention: str = "self", **model) -> VisionTransformer:
    """A model whose running statistics have met some images."""
    built = build_model(trial_of(attention, **model))
    side = built.patch_embed.img_size[0]
    with torch.no_grad():
        built.train()(torch.randn(32, 1, side, side, generator=torch.Generator().manual_seed(7)))
    return built.eval()


def images_of(num_images: int, side: int = 8) -> torch.Tensor:
    return torch.randn(num_images, 1, side, side, generator=torch.Generator().manual_seed(1))


def batches_of(images: torch.Tensor, size: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(part, torch.zeros(len(part), dtype=torch.int64)) for part in images.split(size)]


def probe(model: VisionTransformer, images: torch.Tensor, size: int = 99, **options) -> dict[str, np.ndarray]:
    return probe_model(model, batches_of(images, size), **({"epoch": 3} | options))


def shape_of(dims: str, model: ModelConfig) -> tuple[int, ...]:
    return tuple({"L": model.depth, "H": model.num_heads}[axis] for axis in dims)


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_every_metric_equals_loops_in_float64(attention: str) -> None:
    model, images = network(attention), images_of(6)
    found = probe(model, images)
    seen = reference.observe(model, images)
    expected = reference.softmax_arrays(seen["softmax"], patch_size=4) | reference.token_arrays(seen["tokens"])
    for kind in ("softmax", "map"):
        expected |= reference.map_arrays(kind, seen[kind])
    expected["cka"] = reference.cka([seen["tokens"][1:]])
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-8, atol=1e-9, err_msg=name)
    others = {"epoch", "num_images", "num_skip_images", "skip_acc_drop", "batchnorm_gain", *TIMES}
    assert set(PROBES) - set(expected) == others | {"theta_identity_distance", "theta_singular_values"}


@pytest.mark.parametrize("attention", sorted(ATTENTIONS))
def test_arrays_bear_the_names_and_shapes_of_the_catalog_for_every_attention(attention: str) -> None:
    trial = trial_of(attention, depth=3, num_heads=2)
    found = probe(build_model(trial), images_of(5), is_untrained=True, skip_batches=batches_of(images_of(4), 2))
    assert found.keys() == PROBES.keys()
    for name, info in PROBES.items():
        assert found[name].shape == shape_of(info.dims, trial.model), name
        assert found[name].dtype == np.float64, name
    assert np.isfinite(found["map_similarity.map.patch.raw"]).all()
    assert np.isfinite(found["skip_acc_drop"]).all()


@pytest.mark.parametrize("attention", sorted(ATTENTIONS))
@pytest.mark.parametrize("is_untrained", [False, True])
def test_probing_moves_nothing(attention: str, is_untrained: bool) -> None:
    model = build_model(trial_of(attention, depth=2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    probe(model, images_of(8), 4, is_untrained=is_untrained, skip_batches=batches_of(images_of(4), 2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_many_batches_and_one_agree(attention: str) -> None:
    model, images = network(attention), images_of(24)
    whole, parts = probe(model, images), probe(model, images, 8)
    in_batch_pairs = ("shuffled", "image_similarity", "cka", *TIMES)
    for name, values in whole.items():
        if not any(part in name for part in in_batch_pairs):
            np.testing.assert_allclose(parts[name], values, rtol=1e-4, atol=1e-6, err_msg=name)


def test_what_compares_images_is_averaged_over_batches() -> None:
    model, images = network(), images_of(24)
    found = probe(model, images, 8)
    seen = [reference.observe(model, part) for part in images.split(8)]
    np.testing.assert_allclose(found["cka"], reference.cka([one["tokens"][1:] for one in seen]), rtol=1e-8)
    each = [probe(model, part) for part in images.split(8)]
    for name in ("map_similarity.softmax.patch.shuffled", "image_similarity.softmax.raw"):
        np.testing.assert_allclose(found[name], np.mean([one[name] for one in each], axis=0), rtol=1e-10)


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_the_order_of_images_changes_nothing(attention: str) -> None:
    model, images = network(attention), images_of(12)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    first, second = probe(model, images), probe(model, images[order])
    for name in first.keys() - TIMES:
        np.testing.assert_allclose(second[name], first[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_what_is_kept_does_not_grow_with_the_number_of_images(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref] = []
    most: dict[int, int] = {}
    observe = ForwardContext.observe

    def watched(self: ForwardContext, block_idx: int, name: str, tensor: torch.Tensor) -> None:
        alive.append(weakref.ref(tensor))
        most[0] = max(most.get(0, 0), sum(ref() is not None for ref in alive))
        observe(self, block_idx, name, tensor)

    monkeypatch.setattr(ForwardContext, "observe", watched)
    model, found = network(attention), []
    for num_images in (8, 64):
        alive.clear()
        most.clear()
        arrays = probe(model, images_of(num_images), 8)
        found.append((most[0], sum(values.nbytes for values in arrays.values())))
        assert not any(ref() is not None for ref in alive)
    assert found[0] == found[1]


def test_batches_are_small_and_even_whatever_the_size_of_the_set() -> None:
    for num_images in (4, 31, 128, 1000):
        sizes = batch_sizes(num_images, num_blocks=32, num_heads=4, num_tokens=17)
        assert sum(sizes) == num_images
        assert max(sizes) <= MAX_BATCH
        assert max(sizes) - min(sizes) <= 1
    assert max(batch_sizes(256, num_blocks=32, num_heads=12, num_tokens=197)) == MIN_BATCH


@pytest.mark.parametrize("attention", ["self", "reattention"])
def test_an_untrained_network_of_timms_start_has_similar_maps_and_no_shared_structure(attention: str) -> None:
    """Every adjacent raw M is above 0.9 and every centred one is near 0: dim 192, N = 65, images of 32 x 32 x 3."""
    trial = trial_of(attention, depth=6, embed_dim=192, num_heads=3, patch_size=4, img_size=32)
    trial = replace(trial, model=replace(trial.model, init_std=0.02), data=replace(trial.data, in_chans=3))
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = probe(build_model(trial), images, epoch=0, is_untrained=True)
    adjacent = {how: np.diagonal(found[f"map_similarity.softmax.patch.{how}"], 1) for how in ("raw", "centred")}
    assert (adjacent["raw"] > 0.9).all()
    assert (np.abs(adjacent["centred"]) < 0.05).all()
    assert found["similar_blocks.softmax.adjacent"] == 5
    assert (found["attention_entropy"] > 0.99 * np.log(65)).all()


def test_equal_blocks_have_similarity_one_and_every_block_counts_as_similar() -> None:
    model = network(depth=4)
    first = model.blocks[0].attn
    for block in model.blocks:
        block.attn.qkv.load_state_dict(first.qkv.state_dict())
        block.norm1.load_state_dict(model.blocks[0].norm1.state_dict())
        torch.nn.init.zeros_(block.attn.proj.weight)
        torch.nn.init.zeros_(block.mlp.fc2.weight)
    found = probe(model, images_of(6))
    for how in ("raw", "centred"):
        np.testing.assert_allclose(found[f"map_similarity.softmax.patch.{how}"], 1.0, rtol=1e-12)
    assert found["similar_blocks.softmax.adjacent"] == found["similar_blocks.map.nearest"] == 3
    np.testing.assert_allclose(found["cka"], 1.0, rtol=1e-12)


def test_norms_of_an_untrained_network_take_the_batch_and_of_a_trained_one_what_it_learned() -> None:
    model, images = network("reattention"), images_of(8)
    norm = model.blocks[2].attn.var_norm
    trained = probe(model, images)
    running = norm.weight / (norm.running_var + norm.eps).sqrt()
    np.testing.assert_allclose(trained["batchnorm_gain"][2], running.detach().double(), rtol=1e-6)
    for block in model.blocks:
        block.attn.var_norm.train()
    seen = reference.observe(model, images)
    model.eval()
    untrained = probe(model, images, is_untrained=True)
    mixing = model.blocks[0].attn.reatten_matrix
    mixed = mixing(torch.tensor(seen["softmax"][0], dtype=torch.float32)).double()
    expected = 1.0 / (mixed.var(dim=(0, 2, 3), unbiased=False) + norm.eps).sqrt()
    np.testing.assert_allclose(untrained["batchnorm_gain"][0], expected.detach(), rtol=1e-4)
    expected_maps = reference.map_arrays("map", seen["map"])
    np.testing.assert_allclose(
        untrained["map_similarity.map.patch.raw"], expected_maps["map_similarity.map.patch.raw"], rtol=1e-6, atol=1e-8
    )


def test_a_block_without_a_map_has_none_and_the_others_keep_theirs() -> None:
    model, images = network(depth=3), images_of(6)
    whole = probe(model, images)
    blind = model.blocks[1].attn
    forward = blind.forward
    blind.forward = lambda x, context=None: forward(x)
    found = probe(model, images)
    name = "map_similarity.softmax.patch.raw"
    assert np.isnan(found[name][1]).all()
    assert np.isnan(found["attention_entropy"][1]).all()
    np.testing.assert_allclose(found[name][0, 2], whole[name][0, 2], rtol=1e-4)
    assert np.isnan(found["similar_share.softmax"][1:]).all()


def test_a_map_of_another_shape_is_refused_by_name() -> None:
    model = network(depth=2)
    attn = model.blocks[1].attn
    forward = attn.forward

    def odd(x: torch.Tensor, context: ForwardContext | None = None) -> torch.Tensor:
        if context is not None:
            context.observe(1, "map", torch.zeros(len(x), 3, 5))
        return forward(x)

    attn.forward = odd
    with pytest.raises(TrainingError, match=r"block 1 observed a 'map' map of shape \(6, 3, 5\)"):
        probe(model, images_of(6))


def test_weights_that_are_not_finite_give_nan_and_no_error() -> None:
    model = network("reattention", depth=2)
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight.fill_(torch.nan)
        model.blocks[1].attn.reatten_matrix.weight.fill_(torch.nan)
    found = probe(model, images_of(5), skip_batches=batches_of(images_of(4), 4))
    assert np.isnan(found["effective_rank"]).all()
    assert np.isnan(found["theta_singular_values"][1]).all()
