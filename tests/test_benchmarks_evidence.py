"""The benchmark of the rule for seeds: a small simulation, and the table of the guide."""

from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks.evidence import MIN_SEEDS, RULE, SETTINGS, Setting, make_table, measure, own_widths, stop_by
from tests.markdown_pages import ROOT

GUIDE = (ROOT / "docs/guides/statistics.md").read_text()
UNEVEN = SETTINGS[1]


def test_the_rule_stops_at_once_where_seeds_agree_and_at_the_most_where_they_never_do() -> None:
    draws = np.random.default_rng(0).standard_normal((4, RULE.max))
    assert stop_by(draws * 1e-6, RULE) == [MIN_SEEDS] * 4
    assert stop_by(draws, RULE) == [RULE.max] * 4
    mixed = np.vstack([draws * 1e-6] * 5 + [draws[:1] * 0.004])
    counts = stop_by(mixed, RULE)
    assert counts[:-1] == [MIN_SEEDS] * 20
    assert counts[-1] > MIN_SEEDS


@pytest.mark.slow
def test_the_rule_saves_trials_and_covers_where_stopping_by_a_cells_own_spread_does_not() -> None:
    found = measure(UNEVEN, 60)
    assert found["rule / fixed"] < 0.75
    assert 90 <= found["coverage under the rule, %"] <= 98
    assert found["coverage, each cell by its own spread, %"] < found["coverage under the rule, %"]


def test_the_same_draws_give_the_same_table() -> None:
    setting = Setting("few", [0.002, 0.004, 0.002])
    table = make_table({"few": measure(setting, 3)})
    assert table == make_table({"few": measure(setting, 3)})
    assert table.startswith("| | few |\n|---|---|\n| trials under the rule | ")
    assert own_widths({"a": [0.0, 1.0]})["a"] == pytest.approx(12.7062 * 0.5**0.5 / 2**0.5, rel=1e-4)


def test_the_guides_table_keeps_the_coverage() -> None:
    (row,) = [line for line in GUIDE.splitlines() if line.startswith("| coverage under the rule, % |")]
    shares = [float(number) for number in re.findall(r"\d+\.\d", row)]
    assert len(shares) == len(SETTINGS)
    assert all(93 <= share <= 97 for share in shares)
    (heads,) = [line for line in GUIDE.splitlines() if line.startswith("| | ") and SETTINGS[0].name in line]
    assert all(setting.name in heads for setting in SETTINGS)
