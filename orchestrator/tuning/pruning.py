"""Learning curves of earlier batches in, the accuracy a search trial must reach at each epoch out: the median rule.

A trial is compared with its own cell's trials of earlier batches, which are over before it starts, and with nothing
else. So the decision does not depend on what runs at the same time, and it is the same after an interruption. The rule
is that of Google Vizier (Golovin et al. 2017), as Optuna's MedianPruner has it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from orchestrator.record import EpochMetrics

PruneRule = Mapping[int, float]
"""Epoch, from 1, to the least validation accuracy with which a trial goes on after it."""

MIN_CURVES = 4
"""Finished trials without which there is no median to speak of."""

UNJUDGED_SHARE = 0.25
"""Share of the epochs, the first ones, at which nothing is pruned: early accuracy is mostly warm-up."""


class PrunedError(Exception):
    """A search trial lies below the median of its cell's earlier batches; its outcome, not a fault."""

    def __init__(self, epoch: int, val_acc: float, median: float) -> None:
        self.epoch = epoch
        super().__init__(
            f"given up after epoch {epoch}: val accuracy {val_acc:.4f}, the median of its cell so far is {median:.4f}"
        )


def median_rule(curves: Sequence[Sequence[EpochMetrics]], num_epochs: int) -> dict[int, float]:
    """The median validation accuracy of `curves` at each epoch that is judged; empty where there are too few."""
    if len(curves) < MIN_CURVES:
        return {}
    rule = {}
    for epoch in range(max(1, math.ceil(UNJUDGED_SHARE * num_epochs)), num_epochs):
        accs = [row.val_acc for curve in curves for row in _by_epoch(curve, epoch) if row.val_acc is not None]
        if len(accs) >= MIN_CURVES:
            rule[epoch] = statistics.median(accs)
    return rule


def find_pruned(rule: PruneRule, rows: Sequence[EpochMetrics]) -> EpochMetrics | None:
    """The first of `rows` that lies below the rule, None for a trial that goes on."""
    for epoch in sorted(rule):
        for row in _by_epoch(rows, epoch):
            if row.val_acc is not None and row.val_acc < rule[epoch]:
                return row
    return None


def check_goes_on(rule: PruneRule, rows: Sequence[EpochMetrics]) -> None:
    """Nothing for a trial that goes on after `rows`.

    Raises:
        PrunedError: one of the rows lies below the rule.
    """
    row = find_pruned(rule, rows)
    if row is not None:
        assert row.val_acc is not None
        raise PrunedError(row.epoch, row.val_acc, rule[row.epoch])


def _by_epoch(rows: Sequence[EpochMetrics], epoch: int) -> Sequence[EpochMetrics]:
    """The row of `epoch`, the last one where it was trained twice; none where it was not reached."""
    return [row for row in rows if row.epoch == epoch][-1:]
