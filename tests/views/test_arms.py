"""Arms of a sweep: what is compared with what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.views.arms import Arm, choose_pairs, compared_axis, find_arms, find_pairs, read_cells
from orchestrator.views.frames import Frames
from orchestrator.views.stats import Replicates, score_seeds
from orchestrator.views.table import read_table, read_tables
from tests.views.answered_sweep import build_answered
from tests.views.sweep_builder import build_sweep, diverged


def arm(depths: tuple[int, ...] = (12,), **parts: str) -> Arm:
    cells: dict[int, Replicates] = {depth: score_seeds([0.5, 0.6]) for depth in depths}
    return Arm(", ".join(parts.values()), parts, cells, 0)


def named(arms: list[Arm]) -> list[tuple[str, str]]:
    return [(pair.a.curve, pair.b.curve) for pair in find_pairs(arms)]


@pytest.mark.parametrize(
    ("values", "pairs"),
    [
        (["self"], []),
        (["self", "reattention"], [("reattention", "self")]),
        (["reattention", "self"], [("reattention", "self")]),
        (["mix_only", "attnscale"], [("attnscale", "mix_only")]),
        (["mix_only", "reattention"], [("reattention", "mix_only")]),
        (["reattention", "mix_only"], [("mix_only", "reattention")]),
        (
            ["self", "mix_only", "reattention", "batchnorm_only"],
            [
                ("reattention", "self"),
                ("reattention", "mix_only"),
                ("reattention", "batchnorm_only"),
                ("mix_only", "self"),
                ("batchnorm_only", "self"),
            ],
        ),
    ],
)
def test_every_value_meets_the_reference_and_reattention_every_other(values: list[str], pairs: Any) -> None:
    assert choose_pairs(values) == pairs


def test_arms_are_compared_where_their_other_axes_agree() -> None:
    arms = [arm(attention=name, embed_dim=width) for name in ("self", "reattention") for width in ("w 24", "w 48")]
    assert named(arms) == [("reattention, w 24", "self, w 24"), ("reattention, w 48", "self, w 48")]
    assert [pair.context for pair in find_pairs(arms)] == ["w 24", "w 48"]


def test_an_axis_that_only_one_side_has_keeps_nobody_apart() -> None:
    arms = [arm(attention="self"), arm(attention="reattention", last="last 4"), arm(attention="reattention", last="8")]
    assert named(arms) == [("reattention, last 4", "self"), ("reattention, 8", "self")]
    assert next(find_pairs(arms)).context == "last 4"


def test_without_two_attentions_another_axis_is_compared() -> None:
    arms = [arm(attention="self", init_values="0.1"), arm(attention="self", init_values="none")]
    assert compared_axis(arms) == "init_values"
    assert named(arms) == [("self, none", "self, 0.1")]
    assert compared_axis([arm(attention="self")]) is None
    assert list(find_pairs([arm(attention="self")])) == []


def test_depths_of_a_pair_are_those_that_both_have() -> None:
    (pair,) = find_pairs([arm((4, 8, 12), attention="self"), arm((8, 12, 16), attention="reattention")])
    assert pair.depths == [8, 12]


def test_the_cells_of_an_arm_are_its_finished_seeds_by_image(frames: Frames) -> None:
    plain, *others = frames.answers.arms
    assert (plain.curve, len(others)) == ("self", 2)
    assert list(plain.cells) == [4, 8, 12, 16]
    assert {(cell.seeds, cell.num_images) for cell in plain.cells.values()} == {((0, 1, 2, 3, 4, 5), 400)}


def test_what_diverged_is_counted_and_in_no_cell(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, {"depth": [4, 8]}, seeds=2)
    for trial in sweep.trials[:3]:
        sweep.finish(trial)
    sweep.finish(sweep.trials[3], diverged(sweep.trials[3]))
    table = read_table(tmp_path, sweep.name)
    (found,) = find_arms(table, read_cells(sweep.results, table, read_tables(sweep.results, sweep.name).test_sets))
    assert {depth: cell.seeds for depth, cell in found.cells.items()} == {4: (0, 1), 8: (0,)}
    assert found.num_diverged == 1


def test_one_trial_without_predictions_leaves_its_cell_the_accuracies(tmp_path: Path) -> None:
    sweep = build_answered(tmp_path, {"depth": [4, 8]}, seeds=2, has_probes=False)
    sweep.results.trial(sweep.trials[0].trial_id).predictions_file.unlink()
    table = read_table(tmp_path, sweep.name)
    (found,) = find_arms(table, read_cells(sweep.results, table, read_tables(sweep.results, sweep.name).test_sets))
    assert [cell.num_images for cell in found.cells.values()] == [None, 400]
