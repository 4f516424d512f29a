"""Published numbers are the ones that were published."""

from __future__ import annotations

from orchestrator.views.published import DEEPVIT_CURVE


def test_the_curves_gain_what_the_paper_says_they_gain() -> None:
    acc = {(point.model, point.depth): point.top1_percent for point in DEEPVIT_CURVE}
    gains = {depth: round(acc["DeepViT", depth] - acc["ViT", depth], 2) for depth in (12, 16, 24, 32)}
    assert gains == {12: 0.3, 16: 0.22, 24: 0.64, 32: 1.63}
    assert len(acc) == len(DEEPVIT_CURVE) == 8


def test_every_point_names_its_source() -> None:
    assert all("arXiv 2103.11886" in point.source for point in DEEPVIT_CURVE)
