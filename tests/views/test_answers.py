"""The answers are the statistics of the arms, asked once each and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.views.answers import Answers, find_answers
from orchestrator.views.arms import Arm
from orchestrator.views.frames import Frames
from orchestrator.views.stats import (
    Verdict,
    answer_saturation,
    delta,
    difference_in_differences,
    holm,
    pooled_delta,
    score_seeds,
)


@pytest.fixture(scope="module")
def answers(frames: Frames) -> Answers:
    return frames.answers


def test_each_pair_has_a_delta_a_depth_and_the_estimates_of_the_statistics(answers: Answers) -> None:
    names = [(c.pair.a.curve, c.pair.b.curve) for c in answers.comparisons]
    assert names == [("reattention", "self"), ("reattention", "mix_only"), ("mix_only", "self")]
    for comparison in answers.comparisons:
        a, b = comparison.pair.a.cells, comparison.pair.b.cells
        assert [found.depth for found in comparison.deltas] == [4, 8, 12, 16]
        for found in comparison.deltas:
            assert found.difference.estimate == delta(a[found.depth], b[found.depth])
        assert comparison.pooled is not None
        assert comparison.did is not None
        assert comparison.pooled.estimate == pooled_delta([(a[d], b[d]) for d in (4, 8, 12, 16)])
        assert comparison.did.estimate == difference_in_differences(a[4], a[16], b[4], b[16])


def test_holm_runs_over_the_depths_of_one_pair_and_contrasts_stand_unadjusted(answers: Answers) -> None:
    for comparison in answers.comparisons:
        raw = [found.difference.estimate.p for found in comparison.deltas]
        assert [found.holm_p for found in comparison.deltas] == holm(raw)


def test_the_sign_flip_test_is_of_the_seeds_own_sums(answers: Answers) -> None:
    comparison = answers.comparisons[0]
    a, b = comparison.pair.a.cells, comparison.pair.b.cells
    for found in comparison.deltas:
        signs = np.sign(a[found.depth].accs - b[found.depth].accs)
        flip = found.difference.sign_flip
        assert flip is not None
        assert flip.num_deltas == 6
        assert flip.smallest_p == 2 / 2**6
        if abs(signs.sum()) == 6:
            assert flip.p == flip.smallest_p


def test_saturation_is_answered_for_each_arm_with_the_margin(frames: Frames) -> None:
    wide = find_answers(frames.answers.arms, margin=0.5)
    assert [arm.curve for arm, _ in wide.saturation] == ["self", "reattention", "mix_only"]
    for arm, answer in wide.saturation:
        assert answer == answer_saturation(arm.cells, margin=0.5)
        assert answer.verdict is Verdict.SATURATED


def test_single_seeds_give_values_without_any_test() -> None:
    arms = [Arm(name, {"attention": name}, {4: score_seeds([0.5]), 8: score_seeds([acc])}, 0)
            for name, acc in (("self", 0.6), ("reattention", 0.7))]  # fmt: skip
    (comparison,) = find_answers(arms).comparisons
    difference = comparison.deltas[1].difference
    assert difference.estimate.value == pytest.approx(0.1)
    assert (difference.estimate.low, difference.sign_flip, difference.detectable, difference.bootstrap) == (None,) * 4
    assert comparison.deltas[1].holm_p is None


def test_an_arm_without_finished_seeds_is_asked_nothing() -> None:
    arms = [Arm("self", {"attention": "self"}, {}, 3), Arm("b", {"attention": "b"}, {4: score_seeds([0.5, 0.6])}, 0)]
    found = find_answers(arms)
    assert (found.saturation, found.comparisons) == ((), ())
    assert not found.has_images
    assert not find_answers([]).has_images


def test_of_very_many_curves_the_first_are_asked_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.views.answers.MAX_ARMS", 2)
    monkeypatch.setattr("orchestrator.views.answers.MAX_PAIRS", 1)
    cells = {depth: score_seeds([0.8, 0.81, 0.82]) for depth in (4, 8)}
    arms = [Arm(name, {"attention": name}, cells, 0) for name in ("self", "reattention", "mix_only")]
    answers = find_answers(arms)
    assert [arm.curve for arm, _ in answers.saturation] == ["self", "reattention"]
    assert answers.num_not_asked == 1
    assert [(one.pair.a.curve, one.pair.b.curve) for one in answers.comparisons] == [("reattention", "self")]
    assert answers.has_more_pairs
    assert not find_answers(arms[:2]).has_more_pairs
