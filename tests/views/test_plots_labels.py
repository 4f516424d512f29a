"""Texts beside points cover nothing, and are left out where there is no room."""

from __future__ import annotations

from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from orchestrator.views.plots_labels import LabelledPoint, place_labels


def point(x: float, y: float, text: str, half: float = 0.0, shift: float = 0.0) -> LabelledPoint:
    return LabelledPoint(x, y, y - half, y + half, shift, text, (text, x))


def labelled(points: list[LabelledPoint]) -> tuple[Axes, dict[str, Bbox]]:
    figure = Figure(figsize=(4, 3))
    canvas = FigureCanvasAgg(figure)
    panel = figure.add_subplot()
    panel.set(xlim=(0, 10), ylim=(0, 10))
    place_labels(panel, points)
    canvas.draw()
    return panel, {text.get_text(): text.get_window_extent(canvas.get_renderer()) for text in panel.texts}


def test_texts_cover_neither_each_other_nor_any_point_or_interval() -> None:
    points = [point(x, y, f"{x}{y}", half=1.5) for x in (2, 5, 8) for y in (2, 5, 8)]
    panel, boxes = labelled(points)
    assert len(boxes) >= 6
    assert not any(a.overlaps(b) for a, b in combinations(boxes.values(), 2))
    for other in points:
        spot = panel.transData.transform((other.x, other.y))
        assert not any(box.contains(*spot) for box in boxes.values())


def test_a_text_without_room_is_left_out() -> None:
    _, boxes = labelled([point(5 + n / 50, 5, f"label {n}", half=20) for n in range(12)])
    assert len(boxes) < 12


def test_points_of_one_group_share_one_text() -> None:
    twins = [LabelledPoint(5, y, y - 1, y + 1, shift, "12", ("12",)) for y, shift in ((4, -3.0), (6, 3.0))]
    panel, _ = labelled(twins)
    assert [text.get_text() for text in panel.texts] == ["12"]
