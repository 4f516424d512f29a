"""The answers of a sweep in; tidy frames and the page's tables out: saturation, deltas by depth, pooled contrasts.

In the frames accuracies are percent and differences points, as their names say; a value that does not exist is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from orchestrator.views.answer_sentences import name_arm, points, signed
from orchestrator.views.answers import Answers, Comparison, Difference
from orchestrator.views.arms import Arm
from orchestrator.views.curves import field_name
from orchestrator.views.report_content import ABSENT, TextTable
from orchestrator.views.stats import Interval, SaturationAnswer

DIFFERENCE_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("delta_points", "low_points", "high_points", "p"), "float64"),
    **dict.fromkeys(("sign_flip_p", "smallest_sign_flip_p", "detectable_points"), "float64"),
    **dict.fromkeys(("bootstrap_low_points", "bootstrap_high_points"), "float64"),
    **dict.fromkeys(("n", "num_images"), "Int64"),
    "method": "string",
}
DELTA_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("a", "b", "context"), "string"),
    "depth": "Int64",
    **DIFFERENCE_TYPES,
    **dict.fromkeys(("holm_p", "improvement", "improvement_low", "improvement_high"), "float64"),
}
CONTRAST_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("contrast", "a", "b", "context"), "string"),
    **dict.fromkeys(("shallow", "deep", "num_depths"), "Int64"),
    **DIFFERENCE_TYPES,
}
SATURATION_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("curve", "verdict"), "string"),
    **dict.fromkeys(("saturated_from", "shallowest", "deepest"), "Int64"),
    **dict.fromkeys(("knee", "knee_low", "knee_high", "plateau_percent"), "float64"),
    **dict.fromkeys(("asymptote_percent", "asymptote_low_percent", "asymptote_high_percent"), "float64"),
    **dict.fromkeys(("last_gain_points", "last_gain_low_points", "last_gain_high_points"), "float64"),
    **dict.fromkeys(("decline_after", "n", "num_diverged", "seeds_needed"), "Int64"),
    **dict.fromkeys(("decline_points", "decline_p", "margin_points"), "float64"),
    "method": "string",
}


def delta_frame(answers: Answers) -> pd.DataFrame:
    """A row for each pair of arms and depth: a - b, its interval, Holm's p, sign-flip p, chance of improvement."""
    rows = []
    for comparison in answers.comparisons:
        for found in comparison.deltas:
            better = found.improvement
            rows.append(
                {
                    **_names(comparison),
                    "depth": found.depth,
                    **_difference(found.difference),
                    "holm_p": found.holm_p,
                    "improvement": better.probability,
                    "improvement_low": better.low,
                    "improvement_high": better.high,
                }
            )
    return _frame(rows, DELTA_TYPES)


def contrast_frame(answers: Answers) -> pd.DataFrame:
    """A row for each pair of arms and contrast over depth: `pooled`, and `difference in differences`."""
    rows = []
    for comparison in answers.comparisons:
        depths = comparison.pair.depths
        ends = {"shallow": depths[0], "deep": depths[-1], "num_depths": len(depths)}
        for name, found in (("difference in differences", comparison.did), ("pooled", comparison.pooled)):
            if found is not None:
                rows.append({"contrast": name, **_names(comparison), **ends, **_difference(found)})
    return _frame(rows, CONTRAST_TYPES)


def saturation_frame(answers: Answers) -> pd.DataFrame:
    """A row for each arm over depth: verdict, knee, asymptote, last step, decline."""
    return _frame([_saturation_row(arm, answer) for arm, answer in answers.saturation], SATURATION_TYPES)


def delta_table(answers: Answers) -> TextTable:
    """The deltas by depth as the page shows them."""
    headings = ("a \N{MINUS SIGN} b", "depth", *DIFFERENCE_HEADINGS, "Holm p", "sign-flip p (least)", "P(a beats b)")
    rows = []
    for comparison in answers.comparisons:
        for found in comparison.deltas:
            better = found.improvement
            chance = f"{better.probability:.2f} ({better.low:.2f} to {better.high:.2f})"
            texts = (*_difference_texts(found.difference), _p(found.holm_p), _flip(found.difference), chance)
            rows.append((_pair_name(comparison), str(found.depth), *texts))
    return TextTable(headings, tuple(rows), 0)


def contrast_table(answers: Answers) -> TextTable:
    """The contrasts over depth as the page shows them."""
    headings = ("a \N{MINUS SIGN} b", "contrast", *DIFFERENCE_HEADINGS, "p, unadjusted", "sign-flip p (least)")
    rows = []
    for comparison in answers.comparisons:
        depths = comparison.pair.depths
        dids = (f"difference in differences, {depths[0]} to {depths[-1]} blocks", comparison.did)
        for name, found in (dids, (f"pooled over {len(depths)} depths", comparison.pooled)):
            if found is not None:
                texts = (*_difference_texts(found), _p(found.estimate.p), _flip(found))
                rows.append((_pair_name(comparison), name, *texts))
    return TextTable(headings, tuple(rows), 0)


def saturation_table(answers: Answers) -> TextTable:
    """The saturation answers as the page shows them."""
    headings = ("curve", "answer", "knee (blocks)", "asymptote (%)", "last step (points)", "decline", "seeds", "needed")
    rows = [_saturation_texts(arm, answer) for arm, answer in answers.saturation]
    return TextTable(headings, tuple(rows), 0)


DIFFERENCE_HEADINGS = ("points", "95 % interval", "bootstrap check", "detectable", "seeds")


def _difference_texts(found: Difference) -> tuple[str, ...]:
    estimate, check = found.estimate, found.bootstrap
    return (
        signed(estimate.value),
        _span(estimate.low, estimate.high),
        _span(check.low, check.high) if check is not None else ABSENT,
        ABSENT if found.detectable is None else points(found.detectable),
        f"{estimate.num_seeds}{'' if estimate.is_paired else ', unpaired'}",
    )


def _saturation_texts(arm: Arm, answer: SaturationAnswer) -> tuple[str, ...]:
    hinge, curve, drop = answer.hinge, answer.exponential, answer.decline.drop
    verdict = f"{answer.verdict} from {answer.saturated_from}" if answer.saturated_from else str(answer.verdict)
    knee = asymptote = ABSENT
    if hinge is not None:
        interval = hinge.knee_interval
        ends = "" if interval is None else f" ({_end(interval.low)} to {_end(interval.high)})"
        knee = f"{hinge.knee:.1f}{ends}" if hinge.is_reached else f"not reached{_above(interval)}"
    if curve is not None:
        bounds = curve.asymptote_interval
        ends = "" if bounds is None else f" ({_end(bounds.low, 100.0)} to {_end(bounds.high, 100.0)})"
        asymptote = f"{curve.asymptote * 100.0:.1f}{ends}" if curve.is_reached else "not reached"
    gain = answer.last_gain
    step = f"{signed(gain.value)} ({_span(gain.low, gain.high)})"
    fall = (
        "none" if drop is None else f"{points(drop.value)} after {answer.decline.peak_depth}, p {_p(answer.decline.p)}"
    )
    needed = "images" if answer.is_limited_by_images else str(answer.seeds_needed or ABSENT)
    lost = f", {answer.num_diverged} diverged" if answer.num_diverged else ""
    return (name_arm(arm), verdict, knee, asymptote, step, fall, f"{answer.num_seeds}{lost}", needed)


def _saturation_row(arm: Arm, answer: SaturationAnswer) -> dict[str, Any]:
    hinge, curve, decline = answer.hinge, answer.exponential, answer.decline
    knee = hinge.knee_interval if hinge is not None else None
    asymptote = curve.asymptote_interval if curve is not None else None
    gain = answer.last_gain
    return {
        "curve": name_arm(arm),
        "verdict": str(answer.verdict),
        "saturated_from": answer.saturated_from,
        "shallowest": answer.depths[0],
        "deepest": answer.depths[-1],
        "knee": hinge.knee if hinge is not None and hinge.is_reached else None,
        "knee_low": knee.low if knee else None,
        "knee_high": knee.high if knee else None,
        "plateau_percent": _percent(hinge.plateau if hinge is not None and hinge.is_reached else None),
        "asymptote_percent": _percent(curve.asymptote if curve is not None and curve.is_reached else None),
        "asymptote_low_percent": _percent(asymptote.low if asymptote else None),
        "asymptote_high_percent": _percent(asymptote.high if asymptote else None),
        "last_gain_points": _percent(gain.value),
        "last_gain_low_points": _percent(gain.low),
        "last_gain_high_points": _percent(gain.high),
        "decline_after": decline.peak_depth if decline.drop is not None else None,
        "decline_points": _percent(decline.drop.value if decline.drop else None),
        "decline_p": decline.p,
        "margin_points": _percent(answer.margin),
        "n": answer.num_seeds,
        "num_diverged": answer.num_diverged,
        "seeds_needed": answer.seeds_needed,
        "method": answer.method,
    }


def _difference(found: Difference) -> dict[str, Any]:
    estimate, flip, check = found.estimate, found.sign_flip, found.bootstrap
    return {
        "delta_points": _percent(estimate.value),
        "low_points": _percent(estimate.low),
        "high_points": _percent(estimate.high),
        "p": estimate.p,
        "sign_flip_p": flip.p if flip else None,
        "smallest_sign_flip_p": flip.smallest_p if flip else None,
        "detectable_points": _percent(found.detectable),
        "bootstrap_low_points": _percent(check.low if check else None),
        "bootstrap_high_points": _percent(check.high if check else None),
        "n": estimate.num_seeds,
        "num_images": estimate.num_images,
        "method": estimate.method,
    }


def _names(comparison: Comparison) -> dict[str, str]:
    pair = comparison.pair
    a, b = (arm.part(pair.axis) or f"without {field_name(pair.axis)}" for arm in (pair.a, pair.b))
    return {"a": a, "b": b, "context": pair.context}


def _pair_name(comparison: Comparison) -> str:
    names = _names(comparison)
    text = f"{names['a']} \N{MINUS SIGN} {names['b']}"
    return f"{text}, {names['context']}" if names["context"] else text


def _frame(rows: list[dict[str, Any]], types: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=kind) for name, kind in types.items()})


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100.0


def _span(low: float | None, high: float | None) -> str:
    return ABSENT if low is None or high is None else f"{points(low)} to {points(high)}"


def _above(interval: Interval | None) -> str:
    return "" if interval is None or interval.low is None else f", above {interval.low:.1f}"


def _end(value: float | None, factor: float = 1.0) -> str:
    return "open" if value is None else f"{value * factor:.1f}"


def _p(p: float | None) -> str:
    return ABSENT if p is None else "<\N{NO-BREAK SPACE}0.001" if p < 0.001 else f"{p:.3f}"


def _flip(found: Difference) -> str:
    flip = found.sign_flip
    return ABSENT if flip is None else f"{_p(flip.p)} ({_p(flip.smallest_p)})"
