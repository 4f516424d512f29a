"""The answers of a sweep in; the sentences that open its report out.

Accuracies are told in percent, differences in points, each with its 95 % interval and the number of seeds behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.views.answers import Answers, Comparison, Difference
from orchestrator.views.arms import Arm
from orchestrator.views.curves import field_name
from orchestrator.views.sentences import name_some
from orchestrator.views.stats import Decline, Estimate, SaturationAnswer, Verdict

NAMES = {"self": "self-attention", "reattention": "Re-attention"}
MAX_TOLD = 8
"""Curves, and comparisons, that get a sentence of their own."""
MINUS = "\N{MINUS SIGN}"


def say_answers(answers: Answers) -> list[str]:
    """The answer: each arm's saturation, then the primary comparison, then the others pooled over depth."""
    told = answers.saturation[:MAX_TOLD]
    sentences = [say_saturation(name_arm(arm), answer) for arm, answer in told]
    if len(answers.saturation) > len(told):
        sentences.append(f"Curves beyond these, in the table: {len(answers.saturation) - len(told)}.")
    primary, *others = answers.comparisons or (None,)
    if primary is not None:
        sentences.append(say_comparison(primary))
    sentences += [say_pooled(other) for other in others[:MAX_TOLD] if other is not None]
    if len(others) > MAX_TOLD:
        sentences.append(f"Pairs compared beyond these, in the table: {len(others) - MAX_TOLD}.")
    return sentences


def say_saturation(name: str, answer: SaturationAnswer) -> str:
    """Where depth stops paying for one arm, or that it does not, or that this cannot be told."""
    margin = f"margin {points(answer.margin)} points"
    if answer.verdict is Verdict.SATURATED:
        text = f"{_upper(name)} gains nothing beyond {_say_knee(answer, margin)}"
    elif answer.verdict is Verdict.NOT_SATURATED:
        text = f"{_upper(name)} has not saturated by {answer.depths[-1]} blocks: {_say_last_step(answer)}"
        p = answer.last_gain.one_sided_p()
        text += "" if p is None else f", one-sided p {_say_p(p)}"
    else:
        text = f"Whether {name} has saturated by {answer.depths[-1]} blocks cannot be told: {_say_last_step(answer)}"
        text += f", against a margin of {points(answer.margin)} points{_say_remedy(answer)}"
    return f"{text}{_say_decline(answer.decline)}."


def say_comparison(comparison: Comparison) -> str:
    """The primary answer: the difference in differences over depth, and the mean difference."""
    if comparison.did is None:
        return say_pooled(comparison)
    depths = comparison.pair.depths
    arms = f"{_name(comparison, 'a')} against {_name(comparison, 'b')}{_say_context(comparison)}"
    what = f"Difference in differences from {depths[0]} to {depths[-1]} blocks, {arms}"
    did = f"{what}: {say_difference(comparison.did)}."
    return f"{did} {say_pooled(comparison)}"


def say_pooled(comparison: Comparison) -> str:
    """The mean difference over the shared depths, and what it allows to say."""
    depths, found = comparison.pair.depths, comparison.pooled or comparison.deltas[0].difference
    where = f"Pooled over {len(depths)} depths" if len(depths) > 1 else f"At {depths[0]} blocks"
    a, b = _name(comparison, "a"), _name(comparison, "b")
    return f"{where}, {a} minus {b} is {say_difference(found)}{_say_context(comparison)}{_say_verdict(found, a)}."


def say_difference(difference: Difference) -> str:
    """`+1.3 points (95 %: 0.6 to 2.0), 6 seeds`."""
    return f"{say_estimate(difference.estimate)}, {_say_seeds(difference.estimate)}"


def say_estimate(estimate: Estimate) -> str:
    """`+1.3 points (95 %: 0.6 to 2.0)`."""
    value = f"{signed(estimate.value)} points"
    if estimate.low is None or estimate.high is None:
        return f"{value} (no interval)"
    return f"{value} (95 %: {points(estimate.low)} to {points(estimate.high)})"


def points(share: float) -> str:
    """A share in points with one decimal; two where it is below 0.1 points.

    >>> points(0.0131), points(0.0004), points(0.0)
    ('1.3', '0.04', '0.0')
    """
    value = share * 100.0
    decimals = 2 if 0.005 <= abs(value) < 0.095 else 1
    text = f"{abs(value):.{decimals}f}"
    return f"{MINUS}{text}" if value < 0.0 and float(text) > 0.0 else text


def signed(share: float) -> str:
    """As `points`, with a plus sign where it is more than nothing.

    >>> signed(0.0131), signed(0.0)
    ('+1.3', '0.0')
    """
    text = points(share)
    return text if text.startswith(MINUS) or float(text) == 0.0 else f"+{text}"


def name_arm(arm: Arm) -> str:
    """The arm as a sentence calls it: its attention by its full name, then its other axes."""
    texts = [NAMES.get(text, text) if field_name(axis) == "attention" else text for axis, text in arm.parts.items()]
    return ", ".join(texts) or "this curve"


def name_arms(arms: Sequence[Arm]) -> str:
    """The first few arms by name."""
    return name_some([name_arm(arm) for arm in arms])


def _say_knee(answer: SaturationAnswer, margin: str) -> str:
    shown = f"shown from {answer.saturated_from} blocks on"
    hinge = answer.hinge
    interval = hinge.knee_interval if hinge is not None and hinge.is_reached else None
    if hinge is None or interval is None or interval.low is None or interval.high is None:
        return f"{answer.saturated_from} blocks (equivalence test at 95 %, {margin})"
    return f"{hinge.knee:.0f} blocks (95 %: {interval.low:.0f} to {interval.high:.0f}, {margin}; {shown})"


def _say_last_step(answer: SaturationAnswer) -> str:
    return f"the step from {answer.depths[-2]} to {answer.depths[-1]} gains {say_estimate(answer.last_gain)}"


def _say_remedy(answer: SaturationAnswer) -> str:
    if answer.is_limited_by_images:
        return "; no number of seeds would do on this few test images"
    if answer.seeds_needed is not None:
        return f"; about {answer.seeds_needed} seeds would do, {answer.num_seeds} are there"
    return ""


def _say_decline(decline: Decline) -> str:
    if not decline.is_shown or decline.p is None:
        return ""
    drop = "" if decline.drop is None else f" by {points(decline.drop.value)} points"
    return f"; it falls after {decline.peak_depth} blocks{drop} (corrected p {_say_p(decline.p)})"


def _say_verdict(difference: Difference, a: str) -> str:
    low, high = difference.estimate.low, difference.estimate.high
    if low is None or high is None:
        return "; one seed tests nothing"
    if low > 0.0 or high < 0.0:
        return f": {a} is {'better' if low > 0.0 else 'worse'}"
    if difference.detectable is None:
        return ""
    return f": no difference shown; one below {points(difference.detectable)} points this sweep would often miss"


def _say_context(comparison: Comparison) -> str:
    context = comparison.pair.context
    return f" ({context})" if context else ""


def _say_seeds(estimate: Estimate) -> str:
    return f"{estimate.num_seeds} seed{'s' * (estimate.num_seeds != 1)}"


def _say_p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _name(comparison: Comparison, side: str) -> str:
    arm = comparison.pair.a if side == "a" else comparison.pair.b
    text = arm.part(comparison.pair.axis) or f"without {field_name(comparison.pair.axis)}"
    return NAMES.get(text, text)


def _upper(name: str) -> str:
    """At the start of a sentence; a name from a spec stays as it is written."""
    return name[:1].upper() + name[1:] if name.startswith(tuple(NAMES.values())) else name
