"""The comparison of two sweeps: its law on simulated pairs, and what it says of files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.results import ResultsDir
from orchestrator.views.compare import SweepComparison, compare_cells, compare_sweeps, to_document
from orchestrator.views.stats import Replicates, Verdict, delta, score_images, score_seeds
from tests.views.scored_sweep import build_scored, drawn

NUM_SEEDS, NUM_CELLS = 8, 8
CELLS = [{"depth": depth} for depth in (4, 12, 24)]


def halves(rows: np.ndarray, *, has_images: bool) -> tuple[Replicates, Replicates]:
    """Two disjoint sets of seeds of one cell."""
    names = [range(NUM_SEEDS), range(NUM_SEEDS, 2 * NUM_SEEDS)]
    make = score_images if has_images else score_seeds
    a, b = (make(part, seeds=name) for part, name in zip((rows[:NUM_SEEDS], rows[NUM_SEEDS:]), names, strict=True))
    return a, b


def simulated_pairs(number: int, *, has_images: bool) -> list[np.ndarray]:
    """For each cell the rows of 2 x 8 seeds, all from one truth."""
    rng = np.random.default_rng((7, number))
    if not has_images:
        return list(0.9 + 0.005 * rng.normal(size=(NUM_CELLS, 2 * NUM_SEEDS)))
    image = 1.6 * rng.normal(size=300)
    seeds = 0.1 * rng.normal(size=(NUM_CELLS, 2 * NUM_SEEDS, 1))
    own = 0.4 * rng.normal(size=(NUM_CELLS, 1, 300))
    return list(rng.normal(size=(NUM_CELLS, 2 * NUM_SEEDS, 300)) + image + own + seeds + 2.6 > 0)


@pytest.mark.parametrize("has_images", [False, True], ids=["seeds", "images"])
def test_disjoint_seeds_of_one_spec_show_nothing_in_94_of_100_tries(has_images: bool) -> None:
    quiet = 0
    for number in range(100):
        pairs = [halves(rows, has_images=has_images) for rows in simulated_pairs(number, has_images=has_images)]
        quiet += not any(found.is_significant for found in compare_cells(pairs))
    assert quiet >= 94


def test_a_true_difference_of_four_standard_errors_is_found_in_80_of_100_tries() -> None:
    se, hits = 0.005 * np.sqrt(2 / NUM_SEEDS), 0
    for number in range(100):
        rows = simulated_pairs(number, has_images=False)
        rows[number % NUM_CELLS][NUM_SEEDS:] += 4 * se
        found = compare_cells([halves(row, has_images=False) for row in rows])
        hits += found[number % NUM_CELLS].is_significant
    assert hits >= 80


def test_the_delta_is_b_minus_a_and_one_cell_alone_is_left_as_it_is() -> None:
    a, b = score_seeds([0.90, 0.92, 0.91]), score_seeds([0.80, 0.83, 0.81])
    (found,) = compare_cells([(a, b)])
    assert found.estimate == delta(b, a)
    assert found.estimate.value < 0.0
    assert found.holm_p == found.estimate.p
    assert found.improvement.probability == 0.0
    assert found.sign_flip is not None
    assert found.sign_flip.p == 0.25


def test_a_single_seed_has_a_delta_and_no_p() -> None:
    (found,) = compare_cells([(score_seeds([0.9]), score_seeds([0.8]))])
    assert (found.holm_p, found.sign_flip, found.is_significant) == (None, None, False)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> SweepComparison:
    """B is 12 points worse at 12 blocks and lacks the deepest cell; another recipe, other seeds."""
    tmp_path = tmp_path_factory.mktemp("compared")
    build_scored(tmp_path / "old", "a", CELLS, range(6), drawn(0.85))
    build_scored(tmp_path / "new", "b", CELLS[:2], range(6, 12), drawn(0.85, gain=-0.12), fixed={"lr": 1e-3})
    return compare_sweeps((ResultsDir(tmp_path / "old"), "a"), (ResultsDir(tmp_path / "new"), "b"))


def test_a_cell_that_is_worse_is_found_across_roots(compared: SweepComparison) -> None:
    assert [pair.label for pair, _ in compared.worse(0.0)] == ["depth 12"]
    assert [pair.label for pair, _ in compared.worse(5.0)] == ["depth 12"]
    assert compared.worse(30.0) == []
    ((_, found),) = compared.worse(0.0)
    assert found.estimate.value == pytest.approx(-0.12, abs=0.03)
    assert (found.estimate.method, found.estimate.is_paired) == ("seed x image", False)


def test_a_cell_that_is_better_is_not_worse(compared: SweepComparison) -> None:
    back = compare_sweeps((compared.b.results, "b"), (compared.a.results, "a"))
    assert back.worse(0.0) == []
    assert [found.is_significant for _, found in back.judged] == [False, True]


def test_both_saturation_answers_stand_side_by_side(compared: SweepComparison) -> None:
    (pair,) = compared.curves
    assert pair.a is not None
    assert pair.b is not None
    assert (pair.a.depths, pair.b.depths) == ((4, 12, 24), (4, 12))
    assert pair.b.decline.is_shown
    assert pair.a.verdict is Verdict.CANNOT_TELL


def test_the_document_is_plain_json_and_holds_everything(compared: SweepComparison) -> None:
    document = json.loads(json.dumps(to_document(compared)))
    assert [cell["cell"] for cell in document["cells"]] == ["depth 4", "depth 12"]
    assert document["only_in_a"] == [{"depth": 24}]
    assert document["only_in_b"] == []
    assert document["cells"][1]["changes"] == ["config: train.lr 0.002 -> 0.001"]
    assert document["cells"][1]["delta"]["is_significant"]
    assert document["cells"][1]["delta"]["estimate"]["value"] < 0.0
    assert document["saturation"][0]["b"]["verdict"] == "saturated"
    assert document["a"]["is_finished"]


def test_trials_that_stand_in_both_sweeps_differ_in_nothing(tmp_path: Path) -> None:
    build_scored(tmp_path, "a", CELLS, range(3), drawn(0.85))
    found = compare_sweeps((ResultsDir(tmp_path), "a"), (ResultsDir(tmp_path), "a"))
    assert {known.holm_p for _, known in found.judged} == {1.0}
    assert {cell["num_same_trials"] for cell in to_document(found)["cells"]} == {3}


def test_other_test_images_are_compared_over_seeds_only(tmp_path: Path) -> None:
    build_scored(tmp_path / "a", "a", CELLS, range(3), drawn(0.85))
    build_scored(tmp_path / "b", "a", CELLS, range(3), drawn(0.85), data_fingerprint="other")
    found = compare_sweeps((ResultsDir(tmp_path / "a"), "a"), (ResultsDir(tmp_path / "b"), "a"))
    assert {known.estimate.method for _, known in found.judged} == {"seeds only"}
