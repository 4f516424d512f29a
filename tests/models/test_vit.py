"""The model of a trial: timm's network, our attentions, the same start for what two trials share."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer as TimmVisionTransformer
from torch import Tensor

from orchestrator.models import ForwardContext, build_model
from orchestrator.models.reattention import ReAttention
from orchestrator.models.softmax_attention import SelfAttention
from orchestrator.models.vit import assemble
from orchestrator.trial import Trial
from tests.models.trials import make_trial

ATTENTIONS = ["self", "reattention"]


def images(batch: int = 4) -> Tensor:
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def state(trial: Trial) -> dict[str, Tensor]:
    return dict(build_model(trial).state_dict())


def shared_and_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> set[str]:
    """Names both have; asserts that their values are equal."""
    shared = first.keys() & second.keys()
    assert [name for name in sorted(shared) if not torch.equal(first[name], second[name])] == []
    return shared


@pytest.mark.parametrize("global_pool", ["token", "avg"])
@pytest.mark.parametrize("init_values", [None, 0.1])
def test_a_model_with_self_attention_is_timms_own(global_pool, init_values):
    trial = make_trial(global_pool=global_pool, init_values=init_values, mlp_ratio=3.0)
    ours = build_model(trial).eval()
    sizes = {"img_size": 8, "patch_size": 2, "in_chans": 1, "num_classes": 10, "embed_dim": 24, "depth": 3}
    timms = TimmVisionTransformer(
        **sizes, num_heads=4, mlp_ratio=3.0, global_pool=global_pool, init_values=init_values
    ).eval()
    timms.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(images()), timms(images()), rtol=0, atol=1e-6)


def test_drop_path_grows_linearly_to_the_last_block():
    model = build_model(make_trial(drop_path_rate=0.2))
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in list(model.blocks)]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize(("last", "expected"), [(None, 3), (1, 1), (2, 2), (3, 3)])
def test_reattention_stands_in_the_last_k_blocks(last, expected):
    model = build_model(make_trial(attention="reattention", reattention_last=last))
    kinds = [type(block.attn) for block in list(model.blocks)]
    assert kinds == [SelfAttention] * (3 - expected) + [ReAttention] * expected


def test_options_reach_the_attention():
    trial = make_trial(attention="reattention", reattention_norm="none", reattention_scale="head_dim", qkv_bias=False)
    attention = list(build_model(trial).blocks)[1].attn
    assert attention.var_norm is None
    assert attention.map_scale == pytest.approx(6**-0.5)
    assert attention.qkv.bias is None
    assert attention.block_idx == 1


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_equal_trials_start_equal_whatever_the_global_random_state(attention):
    torch.manual_seed(1)
    first = state(make_trial(attention=attention))
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    second = state(make_trial(attention=attention))
    assert shared_and_equal(first, second) == first.keys()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seeds_start_differently():
    first, second = state(make_trial(seed=0)), state(make_trial(seed=1))
    drawn = [name for name, value in first.items() if value.std() > 0]
    assert {"pos_embed", "cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= set(drawn)
    assert [name for name in drawn if torch.equal(first[name], second[name])] == []


def test_two_attentions_share_the_start_of_every_parameter_they_share():
    plain, mixing = state(make_trial(attention="self")), state(make_trial(attention="reattention"))
    assert shared_and_equal(plain, mixing) == plain.keys()
    assert {name.split(".")[3] for name in mixing.keys() - plain.keys()} == {"reatten_matrix", "var_norm"}


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_two_depths_share_the_start_of_every_block_they_share(attention):
    shallow, deep = state(make_trial(attention=attention)), state(make_trial(attention=attention, depth=5))
    assert shared_and_equal(shallow, deep) == shallow.keys()


def test_blocks_start_differently_from_each_other():
    weights = state(make_trial())
    assert not torch.equal(weights["blocks.0.attn.qkv.weight"], weights["blocks.1.attn.qkv.weight"])


def test_branch_scale_doubles_both_branches_and_leaves_the_norms_input_scale_free():
    trial = make_trial()
    plain = build_model(trial).double().eval()
    scaled = assemble(trial.model, 1, 10, block_scale=0.5).double().eval()
    scaled.load_state_dict(plain.state_dict())
    x = torch.randn(2, 17, 24, dtype=torch.float64)
    block, doubled = plain.blocks[0], scaled.blocks[0]
    middle = x + 2.0 * block.attn(block.norm1(x))
    expected = middle + 2.0 * block.mlp(block.norm2(middle))
    torch.testing.assert_close(doubled(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_an_observer_changes_no_result_and_sees_every_block(attention):
    model = build_model(make_trial(attention=attention)).eval()
    seen: dict[tuple[int, str], Tensor] = {}
    context = ForwardContext(observer=lambda block_idx, name, tensor: seen.update({(block_idx, name): tensor}))
    with torch.no_grad():
        tokens = model.forward_features(images(), context=context)
        torch.testing.assert_close(model.forward_head(tokens), model(images()), rtol=0, atol=1e-5)
    blocks = {(block_idx, name) for block_idx in range(3) for name in ("softmax", "map", "tokens")}
    assert seen.keys() == blocks | {(-1, "tokens")}
    assert seen[0, "map"].shape == (4, 4, 17, 17)
    torch.testing.assert_close(seen[2, "softmax"].sum(dim=-1), torch.ones(4, 4, 17))
    torch.testing.assert_close(model.norm(seen[2, "tokens"]), tokens)


def test_a_mask_is_refused():
    with pytest.raises(ValueError, match="masks are not supported"):
        build_model(make_trial()).forward_features(images(), is_causal=True)


def test_a_trial_of_another_recipe_has_the_same_model():
    trial = make_trial()
    other = dataclasses.replace(trial, train=dataclasses.replace(trial.train, lr=0.5, epochs=9))
    assert shared_and_equal(state(trial), state(other)) == state(trial).keys()
