from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.grids.seeds_reader import MAX_SEEDS
from orchestrator.grids.tune_spec import EDGE_SHARE, SEARCH_SEEDS, Range, Tune, TuneSettings

LOG = Range(name="lr", kind="log_uniform", values=(1e-4, 1e-2))
LINEAR = Range(name="weight_decay", kind="uniform", values=(0.0, 0.2))
WHOLE = Range(name="warmup_epochs", kind="int_uniform", values=(0, 4))
NUMBERS = Range(name="drop_rate", kind="choice", values=(0.2, 0.0, 0.1))
NAMES = Range(name="optimizer", kind="choice", values=("adamw", "sgd", "lamb"))


@given(st.floats(0, 1))
def test_a_position_is_the_share_of_the_way_from_the_low_end(share: float) -> None:
    assert LINEAR.position(0.2 * share) == pytest.approx(share, abs=1e-12)
    assert LOG.position(1e-4 * 100**share) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("one", [LOG, LINEAR, WHOLE])
def test_the_ends_are_at_the_edge_and_the_middle_is_not(one: Range) -> None:
    low, high = one.values
    assert (one.edge(low), one.edge(one.middle), one.edge(high)) == ("low", None, "high")
    assert (one.position(low), one.position(high)) == (0.0, 1.0)
    assert low < one.middle < high


def test_the_edge_is_a_share_of_the_range_in_its_own_scale() -> None:
    inside, outside = (
        math.exp(math.log(1e-4) + share * math.log(100)) for share in (EDGE_SHARE * 1.01, EDGE_SHARE * 0.99)
    )
    assert (LOG.edge(inside), LOG.edge(outside)) == (None, "low")


def test_choices_of_numbers_are_ranked_and_others_have_no_place() -> None:
    assert [NUMBERS.position(value) for value in (0.0, 0.1, 0.2)] == [0.0, 0.5, 1.0]
    assert [NUMBERS.edge(value) for value in (0.0, 0.1, 0.2)] == ["low", None, "high"]
    assert {NAMES.position(value) for value in NAMES.values} == {None}
    assert {NAMES.edge(value) for value in NAMES.values} == {None}
    switch = Range(name="qkv_bias", kind="choice", values=(True, False))
    assert (switch.position(True), switch.edge(True)) == (None, None)


def test_of_two_choices_each_is_an_end_and_none_is_an_edge() -> None:
    two = Range(name="drop_rate", kind="choice", values=(0.0, 0.1))
    assert [two.edge(value) for value in two.values] == [None, None]


def test_batches_are_fixed_only_where_one_reads_another() -> None:
    def size(**settings) -> int:
        return Tune(axes=(LOG,), num_trials=10, **settings).trials_a_batch

    assert size() == 10
    assert size(sampler="tpe") == size(prune=True) == 4
    assert size(sampler="tpe", batch_size=3) == 3


def test_search_seeds_are_no_counted_seeds_and_exact_for_every_reader_of_json() -> None:
    assert SEARCH_SEEDS[0] > MAX_SEEDS
    assert SEARCH_SEEDS[-1] < 2**53
    assert TuneSettings(seeds=1000).search_seeds[-1] in SEARCH_SEEDS
