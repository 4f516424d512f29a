"""tune_reader.py and tune_checks.py: what `tune:` may say, and what is said otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.grids.strict_yaml import dump
from orchestrator.grids.tune_spec import SEARCH_SEEDS, Range
from orchestrator.spec import dump_spec, loads_spec
from tests.grids.spec_errors import BadSpec, bad_specs, message_of

CONTENT: dict[str, Any] = {
    "name": "s",
    "axes": {"depth": [2, 4], "attention": ["self", "reattention"]},
    "tune": {"axes": {"lr": {"log_uniform": [1e-3, 1e-2]}}, "num_trials": 8},
    "model": {"embed_dim": 8, "num_heads": 2, "patch_size": 2},
    "data": {"name": "digits"},
    "train": {"epochs": 4, "batch_size": 8},
}

RANGES: dict[str, Any] = {
    "lr": {"log_uniform": [1e-3, 1e-2]},
    "weight_decay": {"uniform": [0.0, 0.1]},
    "cooldown_epochs": {"int_uniform": [0, 2]},
    "optimizer": ["adamw", "sgd"],
    "clip_grad": [None, 1.0],
    "reattention_init": ["random", "identity"],
}


def tuned(**settings: Any) -> dict[str, Any]:
    return {**CONTENT, "tune": {**CONTENT["tune"], **settings}}


@st.composite
def tunes(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(RANGES)), unique=True, min_size=1))
    names = names if "lr" in names else [*names, "lr"]
    content: dict[str, Any] = {"axes": {name: RANGES[name] for name in names}, "num_trials": draw(st.integers(1, 99))}
    for name, values in {"epochs": st.integers(1, 9), "seeds": st.integers(1, 5), "prune": st.booleans()}.items():
        if draw(st.booleans()):
            content[name] = draw(values)
    if draw(st.booleans()):
        content |= {"sampler": "tpe", "batch_size": draw(st.integers(1, 9))}
    return content


@pytest.mark.parametrize("case", bad_specs("tune"), ids=str)
def test_a_bad_search_is_told_with_place_and_what_is_allowed(case: BadSpec) -> None:
    assert message_of(case.text) == case.message


@settings(max_examples=50)
@given(tunes())
def test_a_search_written_as_yaml_reads_back_as_itself(content: dict[str, Any]) -> None:
    spec = loads_spec(dump({**CONTENT, "tune": content}))
    assert spec.tune is not None
    assert set(spec.tune.names) == set(content["axes"])
    assert loads_spec(dump_spec(spec)) == spec


def test_every_form_of_a_range_is_read() -> None:
    spec = loads_spec(dump(tuned(axes=RANGES, seeds=3, epochs=2)))
    assert spec.tune is not None
    assert spec.tune.axes == (
        Range(name="lr", kind="log_uniform", values=(1e-3, 1e-2)),
        Range(name="weight_decay", kind="uniform", values=(0.0, 0.1)),
        Range(name="cooldown_epochs", kind="int_uniform", values=(0, 2)),
        Range(name="optimizer", kind="choice", values=("adamw", "sgd")),
        Range(name="clip_grad", kind="choice", values=(None, 1.0)),
        Range(name="reattention_init", kind="choice", values=("random", "identity")),
    )
    assert spec.tune.search_seeds == tuple(SEARCH_SEEDS[:3])


def test_a_value_beside_its_range_is_legal_and_what_is_not_tuned_has_no_tune() -> None:
    beside = loads_spec(dump({**CONTENT, "train": {**CONTENT["train"], "lr": 2e-3}}))
    assert beside.tune is not None
    without = loads_spec(dump({**CONTENT, "tune": None, "train": {**CONTENT["train"], "lr": 2e-3}}))
    assert without.tune is None


def test_an_option_that_no_cell_reads_is_told() -> None:
    content = tuned(axes={**RANGES}) | {"axes": {"depth": [2, 4], "attention": ["self"]}}
    assert "reattention_init is an option of reattention" in message_of(dump(content))


def test_a_value_that_only_the_search_gives_is_not_missing() -> None:
    assert "train.lr" not in message_of(dump({**CONTENT, "train": {"epochs": 4}}))


def test_a_long_range_of_whole_numbers_is_judged_by_its_ends() -> None:
    content = tuned(axes={"lr": RANGES["lr"], "num_heads": {"int_uniform": [2, 1000]}})
    assert "num_heads 1000 does not divide embed_dim 8" in message_of(dump(content))
