"""spec_checks.py: what it finds without a visit is what a visit of every cell finds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from orchestrator.errors import SpecError, SpecProblem
from orchestrator.grid import expand_grid
from orchestrator.grids.combinations import option_owners
from orchestrator.grids.spec_checks import MAX_REPORTED, check_spec
from orchestrator.spec import SweepSpec, loads_spec
from tests.grids.spec_strategies import MIXED, contents, read_unchecked


def problems_by_visiting(spec: SweepSpec) -> set[SpecProblem]:
    try:
        expand_grid(spec)
    except SpecError as error:
        return set(error.problems)
    return set()


@given(contents(MIXED))
def test_checking_finds_what_visiting_every_cell_finds(content: dict[str, Any]) -> None:
    findings, spec = read_unchecked(content)
    check_spec(findings, spec)
    found = {problem for problem in findings.problems if "which no cell uses" not in problem.message}
    assert found == problems_by_visiting(spec)


REST = "data: {name: digits}\ntrain: {epochs: 2, batch_size: 8, lr: 1e-3}\n"


def error_of(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        loads_spec(text, "f.yaml")
    return str(caught.value)


def test_a_cell_that_is_excluded_may_break_a_rule() -> None:
    grid = expand_grid(
        loads_spec(
            "name: s\naxes: {embed_dim: [48, 50], num_heads: [4, 5]}\n"
            "exclude: [{embed_dim: 48, num_heads: 5}, {embed_dim: 50, num_heads: 4}]\n"
            "model: {depth: 2, patch_size: 2}\n" + REST
        )
    )
    assert [(cell.axes["embed_dim"], cell.axes["num_heads"]) for cell in grid.cells] == [(48, 4), (50, 5)]


def test_one_rule_does_not_report_without_end() -> None:
    heads = list(range(3, 40, 2))
    text = f"name: s\naxes: {{num_heads: {heads}}}\nmodel: {{depth: 2, embed_dim: 64, patch_size: 2}}\n{REST}"
    found = error_of(text)
    assert found.count("does not divide embed_dim") == MAX_REPORTED
    assert "and more combinations like these" in found


def test_an_empty_grid_names_exclude() -> None:
    text = "name: s\naxes: {depth: [2, 4]}\nexclude:\n- {depth: [2, 4]}\n"
    assert error_of(text + "model: {embed_dim: 8, num_heads: 2, patch_size: 2}\n" + REST) == (
        "f.yaml:3:1: no cell is left\n    exclude:\n    ^\n    exclude: removes every one; remove a rule of it"
    )


def test_conditions_may_not_run_in_a_circle() -> None:
    text = (
        "name: s\naxes:\n"
        "  depth: {values: [2], when: {mixup: 0.1}}\n"
        "  mixup: {values: [0.1], when: {depth: 2}}\n"
        "model: {depth: 4, embed_dim: 8, num_heads: 2, patch_size: 2}\n"
    )
    assert error_of(text + REST) == (
        "f.yaml:3:24: the condition of depth depends on depth itself\n"
        "      depth: {values: [2], when: {mixup: 0.1}}\n"
        "                           ^\n"
        "    let when: look at other fields"
    )


def test_a_condition_may_not_look_at_a_width_that_is_computed() -> None:
    text = (
        "name: s\naxes:\n"
        "  embed_dim: [8, {match_params: {depth: 2, embed_dim: 8}}]\n"
        "  mixup: {values: [0.1], when: {embed_dim: 8}}\n"
        "model: {depth: 4, num_heads: 2, patch_size: 2}\n"
    )
    assert "f.yaml:4:44: when: cannot look at embed_dim here" in error_of(text + REST)


@pytest.mark.parametrize(
    "given",
    [
        "axes: {reattention_last: [1]}\nmodel: {",
        "model: {reattention_last: 1, ",
        "zip: {reattention_last: [1]}\nmodel: {",
    ],
)
def test_an_option_of_an_attention_that_no_cell_uses_is_an_error(given: str) -> None:
    text = f"name: s\n{given}depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}}\n"
    assert (
        f"reattention_last is an option of {', '.join(option_owners('reattention_last'))}, which no cell uses"
        in error_of(text + REST)
    )


def test_an_option_whose_attention_is_excluded_everywhere_is_an_error() -> None:
    text = (
        "name: s\naxes: {attention: [self, reattention]}\nexclude: [{attention: reattention}]\n"
        "model: {reattention_last: 1, depth: 2, embed_dim: 8, num_heads: 2, patch_size: 2}\n"
    )
    assert "which no cell uses" in error_of(text + REST)
