"""tune_checks.py: what it passes, no proposal breaks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.grid import expand_grid
from orchestrator.grids.cell_rules import cell_problems
from orchestrator.grids.cell_values import resolve_values
from orchestrator.grids.combinations import Combinations
from orchestrator.grids.strict_yaml import dump
from orchestrator.grids.tune_checks import with_tuned_axes
from orchestrator.spec import loads_spec
from tests.grids.test_tune_reader import CONTENT


@settings(max_examples=40)
@given(
    st.floats(1e-6, 1e-3),
    st.floats(1.1, 50),
    st.floats(0, 1e-3),
    st.integers(0, 3),
    st.integers(1, 6),
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_a_spec_that_loads_breaks_no_rule_at_any_proposal(
    low: float, factor: float, min_high: float, warmup: int, epochs: int, shares: list[float]
) -> None:
    axes = {
        "lr": {"log_uniform": [low, low * factor]},
        "min_lr": {"uniform": [0.0, min_high + 1e-9]},
        "warmup_epochs": {"int_uniform": [0, warmup + 1]},
    }
    content: dict[str, Any] = {**CONTENT, "tune": {"axes": axes, "num_trials": 2, "epochs": epochs}}
    try:
        spec = loads_spec(dump(content))
    except SpecError:
        return
    proposal = {"lr": low * factor ** shares[0], "min_lr": min_high * shares[1], "warmup_epochs": warmup + 1}
    for combination in Combinations(spec):
        for extra in ({}, {"epochs": epochs}):
            values = resolve_values(spec, {**combination.assigned, **proposal, **extra})
            assert [message for _, message, _ in cell_problems(values)] == []
    assert len(expand_grid(spec).searches) == 4


def test_each_whole_number_of_a_short_range_is_looked_at() -> None:
    tune = {"axes": {"lr": [1e-3, 1e-2], "num_heads": {"int_uniform": [1, 2]}}, "num_trials": 2}
    content = {**CONTENT, "axes": {"depth": [2, 4]}, "tune": tune}
    spec = with_tuned_axes(loads_spec(dump(content)))
    assert {axis.name: axis.values for axis in spec.axes[1:]} == {"lr": (1e-3, 1e-2), "num_heads": (1, 2)}
    assert spec.tune is None
    tune["axes"] = {"lr": [1e-3, 1e-2], "num_heads": {"int_uniform": [1, 3]}}
    with pytest.raises(SpecError, match="num_heads 3 does not divide embed_dim 8"):
        loads_spec(dump(content))
