"""spec_fields.py: fields as `trial.py` declares them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from orchestrator.catalog import ATTENTIONS
from orchestrator.configs import SECTIONS
from orchestrator.grids.spec_fields import FIELDS, SET_BY_ORCH, find_field, nearest


def test_every_field_of_a_trial_can_be_given_but_what_orch_sets() -> None:
    declared = {f.name for cls in SECTIONS.values() for f in dataclasses.fields(cls)}
    assert set(FIELDS) == declared - SET_BY_ORCH


def test_every_field_is_described_in_a_sentence() -> None:
    for field in FIELDS.values():
        assert field.description.endswith("."), field.name
        assert "\n" not in field.description


def test_a_default_is_a_value_its_field_allows() -> None:
    for field in FIELDS.values():
        if not field.is_required and field.default is not None:
            assert field.convert(field.default) == field.default


def test_what_is_required_is_what_has_no_default_and_no_catalog_knows() -> None:
    required = {field.name for field in FIELDS.values() if field.is_required}
    assert required == {"depth", "embed_dim", "num_heads", "patch_size", "name", "epochs", "batch_size", "lr"}


@pytest.mark.parametrize(
    ("name", "value", "converted"),
    [
        ("depth", 12.0, 12),
        ("depth", 10**30, 10**30),
        ("lr", 1, 1.0),
        ("lr", 1e-3, 0.001),
        ("qkv_bias", False, False),
        ("clip_grad", None, None),
        ("micro_batch_size", 8.0, 8),
        ("optimizer", "lamb", "lamb"),
        ("attention", "my_package.attention:Mine", "my_package.attention:Mine"),
        ("val_fraction", 0, 0.0),
        ("mixup_prob", 1, 1.0),
    ],
)
def test_a_legal_value_takes_the_declared_type(name: str, value: Any, converted: Any) -> None:
    found = FIELDS[name].convert(value)
    assert found == converted
    assert type(found) is type(converted)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("depth", 12.5, "a whole number > 0"),
        ("depth", True, "a whole number > 0"),
        ("depth", "12", "a whole number > 0"),
        ("depth", 0, "a whole number > 0"),
        ("depth", None, "a whole number > 0"),
        ("depth", float("inf"), "a whole number > 0"),
        pytest.param("lr", 10**400, "a number > 0", id="lr-too-large"),
        ("lr", float("nan"), "a number > 0"),
        ("weight_decay", float("inf"), "a number >= 0"),
        ("val_fraction", 1, "a number >= 0 and < 1"),
        ("hflip", 1.5, "a number >= 0 and <= 1"),
        ("ema_decay", 0, "a number > 0 and < 1 or null"),
        ("qkv_bias", 1, "true or false"),
        ("qkv_bias", "yes", "true or false"),
        ("optimizer", "adam", "one of adamw, sgd, lamb"),
        ("reattention_norm", "layernorm", "one of batchnorm, none or null"),
        ("id", 2024, "text or null"),
        ("id", "", "text that is not empty"),
        ("name", "mnist", "digits, cifar10, cifar100, image_folder, parquet"),
        ("attention", "a.b", ", ".join(ATTENTIONS) + ", or a class of your own as package.module:Class"),
    ],
)
def test_another_value_is_refused_with_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(allowed)}$"):
        FIELDS[name].convert(value)


def test_a_field_is_found_by_its_name_and_by_its_dotted_path() -> None:
    assert find_field("lr") is find_field("train.lr") is FIELDS["lr"]
    assert find_field("model.lr") is find_field("train.model.lr") is find_field("depht") is find_field("") is None


def test_the_nearest_name_is_near() -> None:
    assert nearest("depht", FIELDS) == "depth"
    assert nearest("qqq", FIELDS) is None
