"""cell_rules.py: what does not go together is told at the value that is to blame."""

from __future__ import annotations

import pytest

from orchestrator.grids.cell_rules import CELL_RULES, cell_problems
from orchestrator.grids.cell_values import resolve_values
from orchestrator.grids.combinations import Combinations
from orchestrator.grids.spec_findings import Findings
from orchestrator.grids.spec_reader import read_spec
from orchestrator.grids.starter import starter_spec
from orchestrator.grids.strict_yaml import compose
from orchestrator.spec import loads_spec
from tests.grids.spec_errors import BadSpec, bad_specs, message_of


@pytest.mark.parametrize("case", bad_specs("cells"), ids=str)
def test_a_bad_cell_is_told_at_the_value_that_is_to_blame(case: BadSpec) -> None:
    assert message_of(case.text) == case.message


def test_the_starter_breaks_no_rule() -> None:
    spec = loads_spec(starter_spec())
    assert list(cell_problems(resolve_values(spec, {"depth": 2}))) == []


def test_each_rule_has_a_bad_spec_that_breaks_it() -> None:
    broken = set()
    for case in bad_specs("cells"):
        spec = read_spec(Findings(compose(case.text, "f.yaml")), path="f.yaml", source="")
        cells = [resolve_values(spec, combination.assigned) for combination in Combinations(spec)]
        broken |= {rule for values in cells for rule, _, _ in cell_problems(values)}
    untried = [rule.fields for rule in CELL_RULES if rule not in broken]
    assert all(len(fields) == 1 for fields in untried)  # a field without a value is tried with depth alone
    assert ("depth",) not in untried


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "digits"])
def test_a_named_dataset_needs_nothing_else(name: str) -> None:
    spec = loads_spec(starter_spec().replace("name: digits ", f"name: {name} "))
    assert spec.data == {"name": name}


def test_facts_that_agree_with_the_catalog_may_be_given() -> None:
    text = starter_spec().replace(
        "name: digits ", "name: digits\n  num_classes: 10\n  in_chans: 1\n  test_fraction: 0.3 "
    )
    assert loads_spec(text).data["test_fraction"] == 0.3


def test_a_folder_of_grey_images_may_say_so() -> None:
    facts = "name: image_folder\n  id: mine\n  root: /data\n  num_classes: 3\n  in_chans: 1 "
    text = starter_spec().replace("name: digits ", facts).replace("patch_size: 2", "patch_size: 2\n  img_size: 32")
    assert loads_spec(text).data["in_chans"] == 1


def test_no_validation_split_is_allowed() -> None:
    assert (
        loads_spec(starter_spec().replace("name: digits ", "name: digits\n  val_fraction: 0 ")).data["val_fraction"]
        == 0
    )
