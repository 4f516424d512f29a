"""seed_rule.py: intervals with a pooled spread, and the sentences about a rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student_t

from orchestrator.views.seed_rule import OWN_FROM, POOLED_SEEDS, half_widths, pool, say_rule
from orchestrator.views.table import accs_by_cell, summarize_cells
from tests.views.sweep_builder import make_table

ACCS = {"a": [0.90, 0.91, 0.92], "b": [0.80, 0.84], "c": [0.70]}


def test_the_pooled_spread_is_that_of_the_deviations_from_each_cells_mean() -> None:
    deviations = np.concatenate([np.array(values) - np.mean(values) for values in ACCS.values()])
    pooled = pool(ACCS)
    assert pooled.df == 3
    assert pooled.sd == pytest.approx(math.sqrt((deviations**2).sum() / 3))


def test_a_cell_has_the_pooled_spread_and_from_six_seeds_its_own() -> None:
    own = list(0.9 + 0.008 * np.arange(OWN_FROM))
    accs = {**ACCS, "own": own}
    pooled, widths = pool(accs), half_widths(accs)
    for cell, values in ACCS.items():
        expected = student_t.ppf(0.975, pooled.df) * pooled.sd / math.sqrt(len(values))
        assert widths[cell] == pytest.approx(expected)
    expected = student_t.ppf(0.975, OWN_FROM - 1) * np.std(own, ddof=1) / math.sqrt(OWN_FROM)
    assert widths["own"] == pytest.approx(expected)


def test_a_cell_that_spreads_further_than_the_others_has_its_own_spread() -> None:
    even = {str(cell): [0.900, 0.901, 0.902] for cell in range(5)}
    wide = [0.70, 0.80, 0.90]
    widths = half_widths({**even, "wide": wide})
    own = student_t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert widths["wide"] == pytest.approx(own)
    assert widths["0"] < own / 2
    assert half_widths({"even": even["0"], "wide": [0.900, 0.902, 0.904]})["wide"] == pytest.approx(
        half_widths({"even": even["0"], "wide": [0.900, 0.902, 0.904]})["even"]
    )


def test_what_nothing_tells_is_infinite() -> None:
    assert half_widths({"a": [0.9], "b": [0.8]}) == {"a": math.inf, "b": math.inf}
    assert half_widths({"a": [], "b": [0.8, 0.9]})["a"] == math.inf


def ruled_table():
    rows = [
        {"attention": attention, "seed": seed, "test_acc": acc}
        for attention, accs in {"self": [0.90, 0.91, 0.92], "reattention": [0.80, 0.81, 0.82]}.items()
        for seed, acc in enumerate(accs)
    ]
    table = make_table(rows)
    table.attrs["seed_rule"] = {"min": 3, "max": 5, "ci_half_width": 0.02}
    return table


def test_under_a_rule_the_intervals_of_cells_are_the_rules_own() -> None:
    table = ruled_table()
    cells = summarize_cells(table)
    width = next(iter(half_widths(accs_by_cell(table)).values()))
    assert (cells["test_acc_high"] - cells["test_acc"]).tolist() == pytest.approx([width, width])
    assert (cells["test_acc"] - cells["test_acc_low"]).tolist() == pytest.approx([width, width])
    assert cells["method"].tolist() == [POOLED_SEEDS] * 2
    del table.attrs["seed_rule"]
    alone = summarize_cells(table)
    assert (alone["test_acc_high"] - alone["test_acc"]).iloc[0] > width


def test_the_sentences_say_the_rule_the_spread_and_who_meets_it() -> None:
    table = ruled_table()
    rule, cells = table.attrs["seed_rule"], summarize_cells(table)
    asked, met = say_rule(rule, cells, accs_by_cell(table))
    assert asked.startswith(
        "Seeds by a rule: 3 to 5 a cell, until the 95 % interval of its test accuracy reaches at most 2"
    )
    assert "(1.00 points, 4 degrees of freedom)" in asked
    assert met == "All 2 cells meet it, with 3.0 seeds on average."
    *_, wide = say_rule({**rule, "ci_half_width": 0.001}, cells, accs_by_cell(table))
    assert wide.startswith("2 of 2 cells do not meet it: ")
    assert "1.60, 3 seeds" in wide
