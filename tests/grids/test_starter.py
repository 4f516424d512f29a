"""starter.py: what `orch init` writes works as it stands."""

from __future__ import annotations

import re

from orchestrator.cost import num_params
from orchestrator.grid import expand_grid
from orchestrator.grids.starter import starter_spec
from orchestrator.spec import loads_spec


def test_the_starter_loads_and_expands_without_a_warning() -> None:
    spec = loads_spec(starter_spec())
    grid = expand_grid(spec)
    assert len(grid.trials) == 4
    assert grid.warnings == ()
    assert spec.question.endswith("?")


def test_the_starter_needs_no_download_and_little_time() -> None:
    for trial in expand_grid(loads_spec(starter_spec())).trials:
        assert trial.data.name == "digits"
        assert trial.train.epochs * num_params(trial) < 1e6


def test_the_header_says_question_command_cost_and_expectation() -> None:
    header = starter_spec().partition("\nname:")[0]
    assert header.startswith("# yaml-language-server: $schema=sweep.schema.json\n")
    assert all(word in header for word in ("# Question:", "# Run:", "# Cost:", "Expect:"))


def test_the_forms_it_suggests_work_when_they_are_uncommented() -> None:
    suggested = re.compile(r"^(\s*)# (embed_dim: \[|reattention_last: \{|exclude:|  - \{)", re.MULTILINE)
    text = suggested.sub(r"\1\2", starter_spec())
    grid = expand_grid(loads_spec(text.replace("  embed_dim: 32\n", "")))
    assert grid.axes == ("depth", "attention", "embed_dim", "reattention_last")
    assert grid.num_excluded > 0
    assert grid.warnings == ()
