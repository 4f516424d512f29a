"""schema.py: the JSON Schema agrees with the loader, and is one that editors read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from orchestrator.grids.schema import json_schema
from orchestrator.grids.spec_fields import FIELDS
from orchestrator.grids.starter import starter_spec
from orchestrator.grids.strict_yaml import compose, parse
from tests.grids.spec_errors import BadSpec, bad_specs
from tests.grids.spec_strategies import contents
from tests.grids.test_tune_reader import CONTENT, tunes

jsonschema = pytest.importorskip("jsonschema")

VALIDATOR = jsonschema.Draft7Validator(json_schema())


def is_valid(text: str) -> bool:
    return bool(VALIDATOR.is_valid(compose(text, "f.yaml").value))


@pytest.mark.parametrize("draft", ["Draft7Validator", "Draft202012Validator"])
def test_it_is_a_schema_under_draft_7_and_the_latest(draft: str) -> None:
    getattr(jsonschema, draft).check_schema(json_schema())


def test_the_starter_is_valid() -> None:
    assert is_valid(starter_spec())


@settings(max_examples=50)
@given(contents())
def test_every_spec_that_loads_is_valid(content: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(content)


IN_YAML_ONLY = {"a duplicate key", "a tag"}
BETWEEN_FIELDS = {
    "a missing field",
    "missing fields",
    "a missing section",
    "an axis that a section gives too",
    "an axis twice",
    "an axis that is zipped too",
    "zipped axes of unequal length",
    "match_params without a width",
    "one and a half GPUs",
    "a rule of overrides with one and a half GPUs",
    "two workers on half a GPU each",
    "a pack that several workers train",
    "an empty text",
    "infinity",
    "not a number",
    "an infinite share",
}
"""What an editor does not see, and `orch plan` does."""


@pytest.mark.parametrize("case", [*bad_specs("reader"), *bad_specs("axes")], ids=str)
def test_it_refuses_what_the_loader_refuses_about_one_field(case: BadSpec) -> None:
    assert is_valid(case.text) == (case.title in IN_YAML_ONLY | BETWEEN_FIELDS)


ABOUT_THE_RANGE = {
    "ends the wrong way round", "an empty range", "a logarithm from zero", "a scientific axis", "a field twice",
    "batches of nothing", "epochs twice", "a low end that breaks a rule", "a high end that breaks a rule",
    "two ranges that break a rule", "a number inside that breaks a rule", "a choice that breaks a rule",
    "a schedule of the search that is too short", "no validation images", "an exclusion by what is chosen",
    "a condition on what is chosen", "a width that is matched",
}  # fmt: skip
"""What compares two numbers or two places."""


@pytest.mark.parametrize("case", bad_specs("tune"), ids=str)
def test_it_refuses_a_search_that_the_loader_refuses_about_one_place(case: BadSpec) -> None:
    assert is_valid(case.text) == (case.title in ABOUT_THE_RANGE)


@settings(max_examples=30)
@given(tunes())
def test_every_search_that_loads_is_valid(content: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid({**CONTENT, "tune": content})


@pytest.mark.parametrize("key", ["axes", "zip", "exclude", "model", "resources"])
def test_a_key_whose_content_is_commented_out_is_valid(key: str) -> None:
    assert is_valid(f"name: s\n{key}:\n  # nothing yet\n")


def test_every_field_is_explained_where_one_types() -> None:
    definitions = json_schema()["definitions"]
    for field in FIELDS.values():
        assert definitions[field.name]["description"] == field.description
        if field.is_hashed:
            assert definitions[f"axis.{field.name}"]["description"] == field.description


def test_a_users_own_attention_is_valid() -> None:
    text = starter_spec().replace("[self, reattention]", "[self, my_package.attention:Mine]")
    assert is_valid(text)
    assert parse(text, "f.yaml").value["axes"]["attention"][1] == "my_package.attention:Mine"
    assert not is_valid(text.replace("attention:Mine", "attention.Mine"))
