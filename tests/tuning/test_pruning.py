"""pruning.py: the median rule, against a reference that is written otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.record import EpochMetrics
from orchestrator.tuning.pruning import MIN_CURVES, PrunedError, check_goes_on, find_pruned, median_rule


def curve(accs: list[float]) -> list[EpochMetrics]:
    return [
        EpochMetrics(epoch=epoch, train_loss=1.0, val_loss=1.0, val_acc=acc, lr=0.1, wall_time_s=1.0)
        for epoch, acc in enumerate(accs, 1)
    ]


accs = st.lists(st.floats(0, 1), min_size=8, max_size=8)


@given(st.lists(accs, min_size=MIN_CURVES, max_size=9))
def test_the_rule_is_the_median_of_each_judged_epoch(table: list[list[float]]) -> None:
    rule = median_rule([curve(row) for row in table], 8)
    assert list(rule) == [2, 3, 4, 5, 6, 7]  # the first quarter is not judged, the last epoch saves nothing
    assert list(rule.values()) == pytest.approx(np.median(np.array(table), axis=0)[1:7])


@given(st.lists(accs, min_size=MIN_CURVES, max_size=9))
def test_a_trial_that_is_nowhere_below_the_median_goes_on_and_half_of_the_others_do(table: list[list[float]]) -> None:
    rule = median_rule([curve(row) for row in table], 8)
    assert find_pruned(rule, curve([1.0] * 8)) is None
    at_two = [find_pruned({2: rule[2]}, curve(row)) for row in table]
    assert sum(found is not None for found in at_two) <= len(table) / 2


def test_the_first_epoch_below_the_rule_is_the_one() -> None:
    rule = {2: 0.3, 3: 0.5, 4: 0.5}
    found = find_pruned(rule, curve([0.0, 0.4, 0.49, 0.1]))
    assert found is not None
    assert found.epoch == 3
    assert find_pruned(rule, curve([0.0, 0.3, 0.5, 0.5])) is None
    assert find_pruned({}, curve([0.0])) is None


def test_a_trial_that_has_not_come_so_far_is_not_judged() -> None:
    assert find_pruned({4: 0.9}, curve([0.1, 0.1])) is None


def test_an_epoch_that_was_trained_twice_counts_as_it_ended() -> None:
    assert find_pruned({1: 0.5}, [*curve([0.1]), *curve([0.6])]) is None


def test_few_curves_or_epochs_give_no_rule() -> None:
    assert median_rule([curve([0.5] * 8)] * (MIN_CURVES - 1), 8) == {}
    assert median_rule([curve([0.5])] * MIN_CURVES, 1) == {}
    assert median_rule([curve([0.5, 0.6])] * MIN_CURVES, 2) == {1: 0.5}


def test_giving_up_says_when_and_why() -> None:
    with pytest.raises(PrunedError, match=r"given up after epoch 2: val accuracy 0\.2000, the median .* 0\.5000"):
        check_goes_on({2: 0.5}, curve([0.1, 0.2]))
    check_goes_on({2: 0.5}, curve([0.1, 0.5]))
