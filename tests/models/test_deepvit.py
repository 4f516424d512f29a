"""`load_deepvit` against outputs of the published code, in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.errors import TrainingError
from orchestrator.models import ForwardContext, VisionTransformer, load_deepvit
from orchestrator.models.deepvit import ConvPatchEmbed
from orchestrator.models.vit import assemble
from tests.models.trials import PAPER, make_trial

FOLDER = Path(__file__).parent.parent / "data" / "deepvit"
LAYOUTS = ["selfattention", "reattention", "s_layout"]
TOLERANCE = 1e-9


def read(layout: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = FOLDER / f"deepvit_{layout}.safetensors"
    with safe_open(path, "pt") as file:
        metadata = {name: json.loads(value) for name, value in file.metadata().items()}
    return load_file(path), metadata


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load(layout: str) -> tuple[VisionTransformer, dict[str, Tensor]]:
    tensors, metadata = read(layout)
    names = ("num_heads", "transform_scale", "scale_adjustment")
    options = {name: metadata[name] for name in names if name in metadata}
    return load_deepvit(part(tensors, "state."), **options), tensors


def assert_near(found: Tensor | None, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_and_attention_maps_are_those_of_the_published_code(layout):
    model, tensors = load(layout)
    model.eval()
    maps: dict[int, Tensor] = {}

    def keep_maps(block_idx: int, name: str, tensor: Tensor) -> None:
        if name == "map":
            maps[block_idx] = tensor

    with torch.no_grad():
        assert_near(model(tensors["input"]), tensors["eval.logits"])
        tokens = model.forward_features(tensors["input"], context=ForwardContext(observer=keep_maps))
        assert_near(model.forward_head(tokens), tensors["eval.logits"])
    expected = part(tensors, "eval.attention.")
    assert maps.keys() == {int(block_idx) for block_idx in expected}
    for block_idx, map_BHNN in maps.items():
        assert_near(map_BHNN, expected[str(block_idx)])


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_and_running_statistics_are_those_of_the_published_code(layout, checkpointing):
    model, tensors = load(layout)
    model.set_grad_checkpointing(checkpointing)
    logits = model.train()(tensors["input"])
    loss = F.cross_entropy(logits, tensors["target"])
    loss.backward()
    assert_near(logits, tensors["train.logits"])
    assert_near(loss, tensors["train.loss"][0])
    gradients = part(tensors, "grad.")
    assert {name for name, _ in model.named_parameters()} == gradients.keys()
    for name, parameter in model.named_parameters():
        assert_near(parameter.grad, gradients[name])
    statistics = {name: buffer for name, buffer in model.named_buffers() if "num_batches" not in name}
    after = part(tensors, "after.")
    assert statistics.keys() == after.keys()
    for name, buffer in statistics.items():
        assert_near(buffer, after[name])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sizes_are_read_off_the_tensors(layout):
    model, metadata = load(layout)[0], read(layout)[1]
    assert len(model.blocks) == metadata["depth"]
    assert model.patch_embed.img_size == (metadata["img_size"],) * 2
    assert model.num_classes == metadata["num_classes"]
    kinds = [type(block.attn).__name__ for block in list(model.blocks)]
    assert [i for i, kind in enumerate(kinds) if kind == "ReAttention"] == metadata["reattention_blocks"]
    assert isinstance(model.patch_embed, ConvPatchEmbed) == metadata.get("cnn_patch_embed", False)


def test_the_model_has_the_dtype_of_the_state_dict():
    tensors, metadata = read("reattention")
    state = {n: t.float() if t.is_floating_point() else t for n, t in part(tensors, "state.").items()}
    model = load_deepvit(state, num_heads=metadata["num_heads"])
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model(tensors["input"].float()).dtype == torch.float32


def test_the_loaded_state_dict_comes_back_unchanged():
    model, tensors = load("s_layout")
    state = part(tensors, "state.")
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("depth", "dim", "last", "num_params"), [(16, 396, 5, 27_312_632), (32, 420, 12, 58_883_708)])
def test_deepvit_s_and_l_have_the_parameters_of_the_released_code(depth, dim, last, num_params):
    changes = PAPER | {"embed_dim": dim, "depth": depth, "attention": "reattention", "reattention_last": last}
    with torch.device("meta"):
        model = assemble(make_trial(**changes).model, 3, 1000, embed_layer=embed_layer)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_params


def embed_layer(**made_by_timm: Any) -> ConvPatchEmbed:
    return ConvPatchEmbed(hidden=64, **made_by_timm)


def broken(change: str) -> tuple[dict[str, Tensor], int]:
    state, num_heads = part(read("reattention")[0], "state."), 4
    if change == "missing":
        del state["blocks.2.mlp.fc2.bias"]
    elif change == "unknown":
        state["blocks.1.attn.extra"] = torch.zeros(1)
    elif change == "shape":
        state["blocks.1.norm1.weight"] = torch.zeros(7)
    elif change == "gap":
        state = {name: t for name, t in state.items() if "blocks.3.attn.reatten" not in name}
    elif change == "no square":
        state["pos_embed"] = state["pos_embed"][:, :12]
    elif change == "heads do not divide":
        num_heads = 5
    elif change == "other heads":
        num_heads = 6
    elif change == "empty":
        state = {}
    return state, num_heads


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", r"blocks\.2\.mlp\.fc2\.bias missing"),
        ("unknown", r"blocks\.1\.attn\.extra not known"),
        ("shape", r"blocks\.1\.norm1\.weight \(7,\) instead of \(24,\)"),
        ("gap", r"blocks \[0, 1, 2\] of 4"),
        ("no square", r"11 patches"),
        ("heads do not divide", r"num_heads 5 does not divide the embedding dimension 24"),
        ("other heads", r"num_heads is 6, but block 0 mixes 4 heads"),
        ("empty", r"no state dict of a DeepViT: cls_token, pos_embed"),
    ],
)
def test_what_is_no_deepvit_is_refused_with_what_is_wrong(change, said):
    state, num_heads = broken(change)
    with pytest.raises(TrainingError, match=said):
        load_deepvit(state, num_heads=num_heads)


def test_a_scale_adjustment_that_divides_by_zero_is_refused():
    with pytest.raises(TrainingError, match="scale_adjustment is 0"):
        load_deepvit(part(read("reattention")[0], "state."), num_heads=4, scale_adjustment=0)
