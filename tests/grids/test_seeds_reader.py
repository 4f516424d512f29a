"""seeds_reader.py: a number, a list or a rule; what is wrong is told with its place and what is allowed."""

from __future__ import annotations

import pytest

from orchestrator.errors import SpecError
from orchestrator.grid import count_trials, expand_grid
from orchestrator.grids.spec_writer import dump_spec
from orchestrator.grids.starter import starter_spec
from orchestrator.grids.sweep_spec import SeedRule
from orchestrator.spec import loads_spec

RULE = "seeds: {min: 3, max: 10, until: {ci_half_width: 0.003}}"


def spec_text(seeds: str) -> str:
    lines = [seeds if line.startswith("seeds:") else line for line in starter_spec().splitlines()]
    return "\n".join(lines)


def test_a_rule_says_what_every_cell_has_and_what_it_may_get() -> None:
    spec = loads_spec(spec_text(RULE))
    assert spec.seeds == (0, 1, 2)
    assert spec.seed_rule == SeedRule(max=10, ci_half_width=0.003)
    assert {len(cell.trials) for cell in expand_grid(spec).cells} == {3}
    assert count_trials(spec) == 10 * len(expand_grid(spec).cells)


def test_a_rule_is_written_as_it_is_read() -> None:
    spec = loads_spec(spec_text(RULE))
    assert loads_spec(dump_spec(spec)) == spec


def test_more_seeds_of_a_cell_are_the_trials_that_a_count_would_have_made() -> None:
    grid = expand_grid(loads_spec(spec_text(RULE)))
    wider = grid.with_num_seeds({grid.cells[0].trials[0].cell_id: 5})
    counted = expand_grid(loads_spec(spec_text("seeds: 5")))
    assert wider.cells[0].trials == counted.cells[0].trials
    assert wider.cells[1:] == grid.cells[1:]


@pytest.mark.parametrize(
    ("seeds", "told"),
    [
        ("seeds: {min: 3, max: 10}", "until: is missing"),
        ("seeds: {min: 3, until: {ci_half_width: 0.003}}", "max: is missing"),
        ("seeds: {min: 1, max: 10, until: {ci_half_width: 0.003}}", "min cannot be 1"),
        ("seeds: {min: 3, max: 3, until: {ci_half_width: 0.003}}", "max: 3 leaves nothing to add to min: 3"),
        ("seeds: {min: 3, max: 1.5, until: {ci_half_width: 0.003}}", "max cannot be 1.5"),
        ("seeds: {min: 3, max: 10, until: {ci_half_width: 0}}", "ci_half_width cannot be 0"),
        ("seeds: {min: 3, max: 10, until: {ci_half_width: 30}}", "ci_half_width cannot be 30"),
        ("seeds: {min: 3, max: 10, until: {width: 0.003}}", "unknown key 'width'"),
        ("seeds: {min: 3, max: 10, until: {}}", "ci_half_width: is missing"),
        ("seeds: {min: 3, max: 10, until: 0.003}", "until: must be a mapping"),
        ("seeds: {min: 3, max: 10, most: 4, until: {ci_half_width: 0.003}}", "unknown key 'most'"),
        ("seeds: true", "seeds cannot be true"),
    ],
)
def test_what_is_wrong_is_told_at_its_place(seeds: str, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        loads_spec(spec_text(seeds), path="f.yaml")
    line = 1 + next(i for i, text in enumerate(spec_text(seeds).splitlines()) if text.startswith("seeds:"))
    assert any(told in problem.message and problem.line == line for problem in caught.value.problems)
