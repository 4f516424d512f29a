"""trial.py: what changes a trial's identity, and what does not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.catalog import ATTENTION_OPTIONS
from orchestrator.configs import SECTIONS, DataConfig, ModelConfig, TrainConfig, is_hashed, section_of
from orchestrator.trial import Trial

BASE = Trial(
    model=ModelConfig(depth=12, embed_dim=48, num_heads=4, patch_size=2, img_size=8, attention="reattention"),
    data=DataConfig(name="digits", num_classes=10, in_chans=1, test_fraction=0.2),
    train=TrainConfig(epochs=30, batch_size=64, lr=2e-3),
    seed=0,
)

OTHER: dict[str, Any] = {
    "global_pool": "avg",
    "weight_init": "xavier_uniform",
    "reattention_norm": "none",
    "reattention_init": "identity",
    "reattention_scale": "head_dim",
    "residual_scale": "1/sqrt(depth)",
    "cos_reg": "released",
    "optimizer": "sgd",
    "precision": "bf16",
    "attention": "my_package.attention:Mine",
    "name": "cifar10",
}
"""Another value of each field that holds one of several words."""

NEEDS: dict[str, dict[str, Any]] = {
    "neutreno_lambda": {"attention": "neutreno"},
    "value_residual_mix": {"attention": "value_residual"},
    "residual_base_depth": {"residual_scale": "1/depth"},
    "cos_reg_weight": {"cos_reg": "paper"},
    "cos_reg_blocks": {"cos_reg": "paper"},
}
"""What must be set for a field to mean something, where that is not so in BASE."""

HASHED = [f.name for cls in SECTIONS.values() for f in dataclasses.fields(cls) if is_hashed(f)]
NOT_HASHED = [f.name for cls in SECTIONS.values() for f in dataclasses.fields(cls) if not is_hashed(f)]


def with_value(trial: Trial, name: str, value: Any) -> Trial:
    section = section_of(name)
    options = dict.fromkeys(ATTENTION_OPTIONS) if name == "attention" else {}
    changed = dataclasses.replace(getattr(trial, section), **{**options, name: value})
    return dataclasses.replace(trial, **{section: changed})


def base_for(name: str) -> Trial:
    """A trial in which the field means something."""
    trial = BASE
    for needed, value in NEEDS.get(name, {}).items():
        trial = with_value(trial, needed, value)
    return trial


def other_value(name: str) -> Any:
    value = getattr(getattr(base_for(name), section_of(name)), name)
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1 if isinstance(value, int) else value / 2 + 0.125
    is_text = name in ("id", "root", "auto_augment", "attention_source")
    return "some-text" if is_text else 1


def test_the_identity_of_a_known_trial_never_changes() -> None:
    """Else every results folder would lose its trials."""
    assert dataclasses.replace(BASE, protocol=1).trial_id == "ad7e4b79e07bfb1b"


@pytest.mark.parametrize("name", HASHED)
def test_any_hashed_field_changes_the_identity(name: str) -> None:
    base = base_for(name)
    changed = with_value(base, name, other_value(name))
    assert changed.trial_id != base.trial_id
    assert changed.cell_id != base.cell_id
    assert changed != base


@pytest.mark.parametrize("name", NOT_HASHED)
def test_no_other_field_changes_the_identity(name: str) -> None:
    changed = with_value(BASE, name, other_value(name))
    assert changed.trial_id == BASE.trial_id
    assert changed == BASE


def test_what_is_not_hashed_is_only_where_things_lie_and_how_often_they_are_saved() -> None:
    assert NOT_HASHED == ["root", "checkpoint_minutes"]


def test_replicates_differ_in_trial_id_and_share_their_cell_id() -> None:
    other = dataclasses.replace(BASE, seed=1)
    assert other.trial_id != BASE.trial_id
    assert other.cell_id == BASE.cell_id


def test_another_protocol_is_another_trial() -> None:
    assert dataclasses.replace(BASE, protocol=BASE.protocol + 1).trial_id != BASE.trial_id


@given(st.integers(1, 2**40))
def test_a_whole_number_is_the_same_written_as_a_float(depth: int) -> None:
    changed = with_value(BASE, "depth", float(depth))
    assert changed.model.depth == depth
    assert type(changed.model.depth) is int
    assert changed.trial_id == with_value(BASE, "depth", depth).trial_id


@given(st.floats(1e-300, 1e300))
def test_a_number_is_the_same_however_it_is_written(lr: float) -> None:
    assert with_value(BASE, "lr", float(f"{lr:.17e}")).trial_id == with_value(BASE, "lr", lr).trial_id


def test_whole_rates_and_negative_zero_have_one_form() -> None:
    assert with_value(BASE, "lr", 1).trial_id == with_value(BASE, "lr", 1.0).trial_id
    assert with_value(BASE, "weight_decay", -0.0).trial_id == with_value(BASE, "weight_decay", 0).trial_id


def test_no_two_changes_of_one_field_give_the_same_identity() -> None:
    ids = [with_value(base_for(name), name, other_value(name)).trial_id for name in HASHED]
    assert len({*ids, BASE.trial_id}) == len(HASHED) + 1


@pytest.mark.parametrize("name", HASHED)
def test_the_canonical_form_goes_through_json_and_back(name: str) -> None:
    trial = with_value(base_for(name), name, other_value(name))
    again = Trial.from_canonical(json.loads(json.dumps(trial.canonical())))
    assert again == trial
    assert again.trial_id == trial.trial_id


def test_a_field_that_is_absent_is_not_in_the_canonical_form() -> None:
    assert "clip_grad" not in BASE.canonical()["train"]
    assert "root" not in BASE.canonical()["data"]
    assert BASE.canonical()["model"]["reattention_norm"] == "batchnorm"


NEUTRAL = [
    ("qk_norm", False),
    ("reattention_frozen", False),
    ("residual_scale", "none"),
    ("residual_base_depth", 4),
    ("cos_reg", "none"),
    ("cos_reg_weight", 0.5),
    ("cos_reg_blocks", 2),
]
"""Values that change nothing in BASE, the last of each group because nothing reads them."""


@pytest.mark.parametrize(("name", "neutral"), NEUTRAL)
def test_a_neutral_value_is_the_same_as_none(name: str, neutral: Any) -> None:
    assert with_value(BASE, name, neutral) == BASE
    assert with_value(BASE, name, neutral).trial_id == BASE.trial_id
    assert name not in BASE.canonical()[section_of(name)]


def test_what_a_set_field_governs_has_a_concrete_value() -> None:
    model = with_value(BASE, "residual_scale", "1/sqrt(depth)").model
    assert (model.residual_base_depth, model.residual_exponent, model.depth_ratio) == (1, 0.5, BASE.model.depth)
    assert with_value(BASE, "cos_reg", "paper").train.cos_reg_weight == 0.1
    assert (BASE.model.residual_exponent, BASE.model.depth_ratio) == (0.0, 1.0)


def test_not_a_number_has_no_identity() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = with_value(BASE, "lr", float("nan")).trial_id


def test_an_option_of_another_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="reattention_last is not an option of attention 'self'"):
        ModelConfig(depth=2, embed_dim=8, num_heads=2, patch_size=2, img_size=8, reattention_last=1)


def test_names_of_fields_are_unique_over_the_sections() -> None:
    assert len(HASHED + NOT_HASHED) == len(set(HASHED + NOT_HASHED))
    with pytest.raises(KeyError):
        section_of("depht")


def test_the_label_says_depth_attention_width_and_seed() -> None:
    assert BASE.label == "d12-reattention-w48-s0"
    assert with_value(BASE, "attention", "my_package.attention:Mine").label == "d12-Mine-w48-s0"


def test_the_id_is_the_digest_of_the_canonical_json() -> None:
    for trial in (BASE, dataclasses.replace(BASE, seed=2**40), with_value(BASE, "lr", 1e-4)):
        text = json.dumps(trial.canonical(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        assert trial.trial_id == hashlib.sha256(text.encode()).hexdigest()[:16]
