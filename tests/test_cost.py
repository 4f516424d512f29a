"""Closed forms against built models and published counts."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from orchestrator import cost
from orchestrator.catalog import ATTENTIONS
from orchestrator.configs import DataConfig
from orchestrator.models import build_model, count_on_meta
from orchestrator.training.augment import resident
from orchestrator.training.data import load_data
from orchestrator.training.moving import pixels_of
from orchestrator.trial import Trial
from tests.models.trials import PAPER, make_trial

PUBLISHED_PARAMS = {
    (12, "self"): 18_507_112,
    (16, "self"): 24_423_784,
    (24, "self"): 36_257_128,
    (32, "self"): 48_090_472,
    (12, "reattention"): 18_509_272,
    (16, "reattention"): 24_426_664,
    (24, "reattention"): 36_261_448,
    (32, "reattention"): 48_096_232,
}


OPTION_VALUES: dict[str, list[Any]] = {
    "reattention_last": [None, 1, 2, 3],
    "reattention_norm": ["batchnorm", "none"],
    "reattention_scale": ["none", "head_dim"],
    "reattention_frozen": [None, True],
}


@st.composite
def trials(draw: Any) -> Trial:
    num_heads = draw(st.sampled_from([2, 3, 4]))
    patch_size = draw(st.sampled_from([2, 3]))
    model: dict[str, Any] = {
        "depth": draw(st.integers(1, 4)),
        "num_heads": num_heads,
        "embed_dim": num_heads * draw(st.sampled_from([4, 5, 8])),
        "patch_size": patch_size,
        "img_size": patch_size * draw(st.integers(1, 4)),
        "mlp_ratio": draw(st.sampled_from([0.5, 2.7, 3.0, 4.0])),
        "qkv_bias": draw(st.booleans()),
        "init_values": draw(st.sampled_from([None, 1e-5])),
        "global_pool": draw(st.sampled_from(["token", "avg"])),
        "qk_norm": draw(st.booleans()),
        "attention": draw(st.sampled_from(sorted(ATTENTIONS))),
    }
    model["embed_dim"] *= ATTENTIONS[model["attention"]].head_dim_multiple
    for option in ATTENTIONS[model["attention"]].options.keys() & OPTION_VALUES:
        model[option] = draw(st.sampled_from(OPTION_VALUES[option]))
    return make_trial(in_chans=draw(st.sampled_from([1, 3])), num_classes=draw(st.integers(2, 12)), **model)


@given(trials())
@settings(max_examples=40)
def test_parameters_and_flops_are_those_of_the_built_model(trial):
    assert count_on_meta(trial) == (cost.num_params(trial), cost.flops(trial))


@given(trials())
@settings(max_examples=10)
def test_a_forward_pass_on_the_cpu_counts_the_same_for_every_image(trial):
    model = build_model(trial)
    shape = (3, trial.data.in_chans, trial.model.img_size, trial.model.img_size)
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        with sdpa_kernel(backend), torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(shape))
        assert counter.get_total_flops() == 3 * cost.flops(trial)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in trainable) == cost.num_params(trial)


@pytest.mark.parametrize(("depth", "attention"), list(PUBLISHED_PARAMS))
def test_parameters_are_those_of_the_released_code(depth, attention):
    trial = make_trial(num_classes=1000, in_chans=3, depth=depth, attention=attention, **PAPER)
    assert cost.num_params(trial) == PUBLISHED_PARAMS[depth, attention]


def test_flops_of_a_vit_s_at_224_pixels_are_the_known_ones():
    sizes = PAPER | {"depth": 12, "num_heads": 6, "mlp_ratio": 4.0}
    assert cost.flops(make_trial(num_classes=1000, in_chans=3, **sizes)) / 2e9 == pytest.approx(4.6, abs=0.05)


def test_a_users_own_attention_has_no_closed_form():
    own = make_trial(attention="my_pkg.attn:MyAttention")
    assert not cost.is_closed_form(own)
    assert cost.is_closed_form(make_trial(attention="reattention"))
    for function in (cost.num_params, cost.flops):
        with pytest.raises(ValueError, match="has no closed form"):
            function(own)
    assert cost.memory_mib(own, num_parameters=1000) > cost.activation_mib(own)


@given(trials(), st.integers(1, 6), st.integers(1, 40))
@settings(max_examples=60)
def test_no_other_width_comes_nearer_to_the_reference(trial, depth, channels):
    heads = trial.model.num_heads
    reference = make_trial(depth=depth, num_heads=heads, embed_dim=heads * channels)
    target = cost.num_params(reference)
    found = cost.matched_embed_dim(trial, reference)

    def distance(embed_dim: int) -> int:
        return abs(cost.num_params(cost.with_embed_dim(trial, embed_dim)) - target)

    step = heads * ATTENTIONS[trial.model.attention].head_dim_multiple
    assert found % step == 0
    best = min(range(step, found + 20 * step, step), key=lambda width: (distance(width), width))
    assert found == best


def test_a_model_matches_itself_at_its_own_width():
    trial = make_trial(depth=32, embed_dim=48)
    assert cost.matched_embed_dim(trial, trial) == 48


def test_a_tie_goes_to_the_smaller_width():
    trial = make_trial(num_heads=1)
    reference = make_trial()
    counts = {1: 10, 2: 20, 4: 40}
    found = cost.matched_embed_dim(
        trial,
        reference,
        count=lambda t: 30 if t is reference else counts.get(t.model.embed_dim, 15 * t.model.embed_dim),
    )
    assert found == 2


def test_memory_counts_weights_gradients_moments_copies_and_the_micro_batch():
    def bytes_per_param(**train: Any) -> float:
        trial = make_trial(train=train)
        return (cost.memory_mib(trial) - cost.activation_mib(trial)) * cost.MIB / cost.num_params(trial)

    assert bytes_per_param() == pytest.approx(16)
    assert bytes_per_param(optimizer="sgd") == pytest.approx(12)
    assert bytes_per_param(precision="bf16", ema_decay=0.999) == pytest.approx(22)
    whole, micro = make_trial(train={"batch_size": 64}), make_trial(train={"batch_size": 64, "micro_batch_size": 16})
    assert cost.activation_mib(whole) == pytest.approx(4 * cost.activation_mib(micro))


def test_cost_needs_neither_torch_nor_numpy():
    code = "import sys, orchestrator.cost; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(cost.__file__).parents[1])


@pytest.mark.parametrize(("val", "test"), [(0.1, 0.2), (0.25, 0.5), (0.0, 0.1)])
def test_images_that_stay_on_a_gpu_are_those_that_move_there(val: float, test: float, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**40, 2**40))
    data = DataConfig(name="digits", num_classes=10, in_chans=1, val_fraction=val, test_fraction=test)
    trial = replace(make_trial(img_size=8), data=data)
    loaded = load_data(data, 8)
    splits = [split for split in (loaded.train, loaded.val, loaded.test) if split is not None]
    found = cost.num_images(data)
    assert found is not None
    assert [count for count in found if count] == pytest.approx([len(split) for split in splits], abs=10)
    moved = resident(loaded, trial, torch.device("meta"))
    num_bytes = sum(pixels_of(split).nbytes for split in (moved.train, moved.val, moved.test) if split is not None)
    assert cost.kept_images_mib(trial) == pytest.approx(num_bytes / cost.MIB)
    assert cost.memory_mib(trial, on_gpu=True) == pytest.approx(
        cost.memory_mib(trial) - cost.activation_mib(trial) + cost.activation_mib(trial, on_gpu=True)
        + num_bytes / cost.MIB
    )  # fmt: skip
    by_pillow = replace(trial, train=replace(trial.train, color_jitter=0.4))
    assert resident(loaded, by_pillow, torch.device("meta")).train is loaded.train
    assert cost.kept_images_mib(by_pillow) == pytest.approx((1797 - found[0]) * 64 / cost.MIB)


def test_no_large_images_stay_on_a_gpu_and_none_whose_number_only_files_tell():
    cifar = DataConfig(name="cifar100", num_classes=100)
    assert cost.num_images(cifar) == (45_000, 5_000, 10_000)
    assert cost.kept_images_mib(replace(make_trial(img_size=32), data=cifar)) == 60_000 * 3 * 32**2 / cost.MIB
    assert cost.kept_images_mib(replace(make_trial(img_size=96), data=cifar)) == 0.0
    folder = DataConfig(name="image_folder", id="mine", root="/somewhere", num_classes=10)
    assert cost.num_images(folder) is None
    assert cost.kept_images_mib(replace(make_trial(img_size=32), data=folder)) == 0.0
