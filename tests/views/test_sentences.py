"""Sentences say what the frames say: how far, how good, and what to be careful about."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from orchestrator.views.sentences import find_caveats, name_some, say_best, say_progress
from orchestrator.views.table import summarize_cells
from tests.views.sweep_builder import make_table


def seeds(accs: list[float], **content: Any) -> list[dict[str, Any]]:
    return [{"seed": seed, "test_acc": acc, "val_acc": acc, **content} for seed, acc in enumerate(accs)]


def caveats(rows: list[dict[str, Any]]) -> str:
    table = make_table(rows)
    return " ".join(find_caveats(summarize_cells(table), table))


def test_a_cell_of_packed_and_solo_seeds_is_named_and_times_of_packs_are_told() -> None:
    alone, packed = seeds([0.9] * 6, depth=12), seeds([0.9] * 6, depth=24, num_packed=3)
    assert "one pass" not in caveats(alone)
    told = caveats(alone + packed)
    assert "Means over seeds trained in one pass" not in told
    assert "The times of 6 of 12 finished trials are those of all seeds that were trained in one pass with them" in told
    packed[0]["num_packed"] = 2
    assert caveats(alone + packed) == told  # packs of several sizes are packs
    packed[0]["num_packed"] = 1
    told = caveats(alone + packed)
    assert "Means over seeds trained in one pass and seeds trained alone" in told
    assert "\N{LEFT DOUBLE QUOTATION MARK}depth 24, self\N{RIGHT DOUBLE QUOTATION MARK}" in told
    assert "The times of 5 of 12" in told


def test_progress_counts_every_state() -> None:
    states = ["COMPLETE", "COMPLETE", "DIVERGED", "FAIL", "RUNNING", "WAITING", "WAITING", "PRUNED"]
    table = make_table([{"state": state, "seed": seed} for seed, state in enumerate(states)])
    expected = "Not complete: 2 of 8 trials finished (1 diverged, 1 failed, 1 pruned, 1 running, 2 waiting)."
    assert say_progress(table) == expected
    assert say_progress(make_table([{}, {"seed": 1}])) == "Complete: 2 of 2 trials finished."
    assert say_progress(make_table([])) == "Not complete: 0 of 0 trials finished."


def test_trials_that_wait_for_their_search_are_not_forgotten() -> None:
    table = make_table([{}, {"seed": 1}])
    table.attrs["num_pending"] = 3
    expected = "Not complete: 2 of 5 trials finished (3 of cells that are still searched)."
    assert say_progress(table) == expected


def test_the_best_cell_is_chosen_on_validation_and_reported_on_test() -> None:
    rows = seeds([0.9, 0.9], depth=12)
    rows += [{"depth": 24, "seed": seed, "test_acc": 0.8, "val_acc": 0.95} for seed in (0, 1)]
    (sentence,) = say_best(summarize_cells(make_table(rows)))
    assert "chosen by validation accuracy" in sentence
    assert "depth 24, self" in sentence
    assert "80.00 % (95 % interval 80.00 to 80.00, n = 2 seeds)" in sentence


def test_each_attention_has_its_best_cell() -> None:
    rows = seeds([0.9], attention="self") + seeds([0.8], attention="reattention")
    sentences = say_best(summarize_cells(make_table(rows)))
    assert ["with self" in sentences[0], "with reattention" in sentences[1], len(sentences)] == [True, True, 2]
    assert "(one seed, no interval)" in sentences[0]


def test_without_validation_the_choice_is_called_flattering() -> None:
    sentences = say_best(summarize_cells(make_table([{"val_acc": None}])))
    assert "chosen by test accuracy" in sentences[0]
    assert "flatters" in sentences[1]


def test_nothing_measured_is_nothing_said() -> None:
    table = make_table([{"state": "WAITING", "test_acc": None, "val_acc": None}])
    assert say_best(summarize_cells(table)) == []
    assert find_caveats(summarize_cells(table), table) == []


def test_six_equal_seeds_at_an_inner_depth_need_no_caveat() -> None:
    rows = seeds([0.5] * 6, depth=12) + seeds([0.9] * 6, depth=24) + seeds([0.6] * 6, depth=32)
    assert caveats(rows) == ""


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (seeds([0.9, 0.8, 0.7]), "Few seeds (n = 3): no sign-flip test can go below p = 0.25"),
        (seeds([0.9]), "1 of 1 cells have a single seed"),
        ([*seeds([0.9] * 6), {"seed": 6, "state": "DIVERGED", "test_acc": None}], "(6 of 7)"),
        (seeds([0.9] * 3) + seeds([0.9] * 3, code_fingerprint="other"), "Means over different versions of the code"),
        (seeds([0.9] * 6) + seeds([0.9] * 6, depth=24, device="gpu"), "2 kinds of device stand in this sweep"),
        (seeds([0.9] * 6, protocol=1) + seeds([0.9] * 6, depth=24, protocol=2), "protocols 1, 2"),
        (seeds([0.8] * 6, data_fingerprint="a") + seeds([0.9] * 6, data_fingerprint="b"), "2 different contents"),
        (seeds([0.8] * 6) + seeds([0.9] * 6, depth=24), "24 blocks, is the deepest"),
        (seeds([0.9] * 6, git_dirty=True), "6 of 6 finished trials were trained from a working tree"),
    ],
    ids=["few", "single", "survivors", "mixed cell", "mixed sweep", "protocols", "datasets", "edge", "dirty"],
)
def test_a_weakness_of_the_data_is_told(rows: list[dict[str, Any]], words: str) -> None:
    assert words in caveats(rows)


def test_damaged_files_are_told_with_their_names() -> None:
    table = make_table(seeds([0.9] * 6))
    cells = summarize_cells(table)
    assert find_caveats(cells, table, ["trials/x/record.json is damaged"]) == [
        "Damaged: trials/x/record.json is damaged."
    ]


def test_long_lists_are_counted() -> None:
    assert name_some([str(n) for n in range(8)]) == "0; 1; 2; 3; 4; and 3 more"
    assert name_some(["a"]) == "a"


def test_caveats_do_not_depend_on_the_order_of_trials() -> None:
    rows = seeds([0.9, 0.8, 0.7], depth=12) + seeds([0.9, 0.9, 0.8], depth=24)
    numbered = [{**row, "trial_id": f"t{number}"} for number, row in enumerate(rows)]
    table = make_table(numbered)
    shuffled = table.iloc[::-1]
    assert isinstance(shuffled, pd.DataFrame)
    assert sorted(find_caveats(summarize_cells(shuffled), shuffled)) == sorted(
        find_caveats(summarize_cells(table), table)
    )
