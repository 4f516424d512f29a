"""catalog.py: names and what is known of them."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.catalog import ATTENTION_OPTIONS, ATTENTIONS, DATASETS, attention_info, is_dotted_attention
from orchestrator.configs import ModelConfig


def test_every_option_is_a_field_of_the_model_that_is_absent_by_default() -> None:
    defaults = {f.name: f.default for f in dataclasses.fields(ModelConfig)}
    assert {defaults[name] for name in ATTENTION_OPTIONS} == {None}


def test_options_are_those_of_some_attention() -> None:
    assert {name for info in ATTENTIONS.values() for name in info.options} == ATTENTION_OPTIONS


@pytest.mark.parametrize("name", ["mine:Mine", "my_package.attention:Mine", "_a._b:_C", "größe:Maß"])
def test_a_dotted_path_points_at_a_class(name: str) -> None:
    assert is_dotted_attention(name)
    assert attention_info(name).options == {}


@pytest.mark.parametrize(
    "name", ["self", "a.b", ":Mine", "mine:", "mine:a.b", "a..b:C", ".a:C", "a b:C", "a:B:C", "1a:C", "a/b:C", "../a:C"]
)
def test_anything_else_is_no_dotted_path(name: str) -> None:
    assert not is_dotted_attention(name)


def test_an_unknown_attention_has_no_entry() -> None:
    with pytest.raises(KeyError):
        attention_info("sefl")


def test_a_dataset_that_a_spec_has_to_describe_is_named_by_content() -> None:
    for name, info in DATASETS.items():
        has_unknown_facts = info.img_size is None or info.num_classes is None
        assert info.needs_id == info.needs_root == has_unknown_facts, name
        assert not (info.is_fetched and info.needs_root), name
