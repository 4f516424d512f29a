"""Sentences say the answers, each number as it is, and no more than was shown."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from orchestrator.views.answer_sentences import points, say_answers, say_estimate, say_pooled, say_saturation, signed
from orchestrator.views.answers import find_answers
from orchestrator.views.arms import Arm
from orchestrator.views.frames import Frames
from orchestrator.views.stats import HingeFit, Interval, SaturationAnswer, Verdict, answer_saturation, score_seeds


def cells(means: dict[int, float], spread: float = 0.0005, seeds: int = 6) -> Any:
    noise = np.random.default_rng(0)
    return {d: score_seeds(list(mean + spread * noise.normal(size=seeds))) for d, mean in means.items()}


def answered(means: dict[int, float], **changes: Any) -> SaturationAnswer:
    return dataclasses.replace(answer_saturation(cells(means)), **changes)


def arms_of(*curves: tuple[str, dict[int, float]], **options: Any) -> list[Arm]:
    return [Arm(name, {"attention": name}, cells(means, **options), 0) for name, means in curves]


KNEE = HingeFit(knee=17.2, plateau=0.79, slope=0.01, intercept=0.5, sse=0.0, is_reached=True,
                knee_interval=Interval(15.1, 19.8, 0.95))  # fmt: skip


def test_a_saturated_curve_names_its_knee_interval_and_margin() -> None:
    answer = answered({12: 0.7, 16: 0.79, 24: 0.79, 32: 0.79}, hinge=KNEE)
    assert answer.verdict is Verdict.SATURATED
    assert say_saturation("self-attention", answer) == (
        "Self-attention gains nothing beyond 17 blocks (95 %: 15 to 20, margin 0.3 points; shown from 16 blocks on)."
    )


def test_without_a_knee_interval_the_depth_that_was_shown_is_named() -> None:
    expected = "mix_only gains nothing beyond 16 blocks (equivalence test at 95 %, margin 0.3 points)."
    for interval in (None, Interval(15.0, None, 0.95), Interval(None, 15.0, 0.95)):
        answer = answered({12: 0.7, 16: 0.79, 24: 0.79}, hinge=dataclasses.replace(KNEE, knee_interval=interval))
        assert say_saturation("mix_only", answer) == expected


def test_a_growing_curve_has_not_saturated() -> None:
    said = say_saturation("Re-attention", answered({12: 0.7, 16: 0.75, 32: 0.8}))
    start = "Re-attention has not saturated by 32 blocks: the step from 16 to 32 gains +5.0 points (95 %:"
    assert said.startswith(start)
    assert said.endswith("), one-sided p < 0.001.")


def test_what_cannot_be_told_is_not_told_and_the_remedy_is() -> None:
    answer = answer_saturation(cells({12: 0.7, 16: 0.75, 32: 0.751}, spread=0.02, seeds=3))
    said = say_saturation("self-attention", answer)
    assert said.startswith("Whether self-attention has saturated by 32 blocks cannot be told:")
    assert f"about {answer.seeds_needed} seeds would do, 3 are there" in said
    few_images = dataclasses.replace(answer, is_limited_by_images=True)
    assert "no number of seeds would do" in say_saturation("self-attention", few_images)


def test_a_decline_is_told_only_where_it_is_shown() -> None:
    falling = say_saturation("self-attention", answered({4: 0.8, 8: 0.75, 12: 0.7}))
    assert "; it falls after 4 blocks by 10.0 points (corrected p < 0.001)." in falling
    flat = {4: 0.8, 8: 0.8, 12: 0.8}
    assert "falls" not in say_saturation("self-attention", answered(flat))


def test_the_primary_answer_is_the_difference_in_differences_then_the_others_are_pooled(frames: Frames) -> None:
    sentences = say_answers(frames.answers)
    did = frames.answers.comparisons[0].did
    assert did is not None
    assert [sentence.split(" ")[0] for sentence in sentences[:2]] == ["Whether", "Re-attention"]
    start = "Difference in differences from 4 to 16 blocks, Re-attention against self-attention: "
    assert sentences[3].startswith(f"{start}{say_estimate(did.estimate)}, 6 seeds. Pooled over 4 depths, Re-attention")
    assert "Re-attention is better" in sentences[3]
    assert sentences[4].startswith("Pooled over 4 depths, Re-attention minus mix_only is")
    assert sentences[5].startswith("Pooled over 4 depths, mix_only minus self-attention is")


def test_no_difference_shown_says_what_would_have_been_missed() -> None:
    same = {4: 0.7, 8: 0.8}
    arms = arms_of(("self", same), ("reattention", same), spread=0.01)
    (comparison,) = find_answers(arms).comparisons
    assert comparison.pooled is not None
    said = say_pooled(comparison)
    assert "no difference shown; one below " in said
    assert f"{points(comparison.pooled.detectable or 0.0)} points this sweep would often miss" in said


@pytest.mark.parametrize(("gain", "word"), [(0.05, "better"), (-0.05, "worse")])
def test_a_shown_difference_has_its_direction(gain: float, word: str) -> None:
    arms = arms_of(("self", {4: 0.7, 8: 0.8}), ("reattention", {4: 0.7 + gain, 8: 0.8 + gain}))
    (comparison,) = find_answers(arms).comparisons
    assert say_pooled(comparison).endswith(f": Re-attention is {word}.")


def test_one_seed_tests_nothing() -> None:
    arms = arms_of(("self", {4: 0.7}), ("reattention", {4: 0.8}), seeds=1)
    (comparison,) = find_answers(arms).comparisons
    said = say_pooled(comparison)
    assert said.startswith("At 4 blocks, Re-attention minus self-attention is +")
    assert said.endswith("points (no interval), 1 seed; one seed tests nothing.")


def test_long_lists_are_counted() -> None:
    arms = arms_of(*((f"kind{number}", {4: 0.7, 8: 0.8}) for number in range(11)))
    sentences = say_answers(find_answers(arms))
    assert "Curves beyond these, in the table: 3." in sentences
    assert "Pairs compared beyond these, in the table: 1." in sentences


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0131, "+1.3"), (-0.0131, "\N{MINUS SIGN}1.3"), (0.0004, "+0.04"), (-1e-9, "0.0"), (0.0, "0.0")],
)
def test_points_have_the_digits_that_matter(share: float, text: str) -> None:
    assert signed(share) == text
