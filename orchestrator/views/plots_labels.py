"""Points of a panel and texts for them in; the texts drawn where they cover no point, interval or other text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from orchestrator.views.plots_style import MUTED

FONT_POINTS = 6.5
CLEAR_POINTS = 3.4
"""Half the size of a marker and a little air."""


@dataclass(frozen=True)
class LabelledPoint:
    """A mean with its interval, and the text it would like to have; in the units of the panel's axes."""

    x: float
    y: float
    low: float
    high: float
    shift_points: float
    """How far the point is drawn to the right of x."""
    text: str
    group: tuple[object, ...]
    """Points of one group share one text."""


def place_labels(panel: Axes, points: Sequence[LabelledPoint]) -> None:
    """Draw each group's text above or below its intervals, or beside its mean; where nothing is free, leave it out.

    The panel's layout must be final, because room is measured on the page.
    """
    boxes = [_boxes(panel, point) for point in points]
    taken = [part for marker, bar in boxes for part in (marker, bar)]
    page = panel.figure.bbox
    frame = panel.get_window_extent().padded(2.0 * FONT_POINTS * _pixels(panel))
    frame = Bbox.intersection(frame, page) or frame
    done: set[tuple[object, ...]] = set()
    for point in points:
        if point.group in done:
            continue
        done.add(point.group)
        members = [box for other, box in zip(points, boxes, strict=True) if other.group == point.group]
        for box in _candidates(panel, point.text, members):
            is_inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if is_inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                _write(panel, point.text, box)
                break


def _boxes(panel: Axes, point: LabelledPoint) -> tuple[Bbox, Bbox]:
    """Marker and interval in pixels, the interval as far as the panel shows it."""
    scale = _pixels(panel)
    bottom, top = panel.get_ylim()
    x, y = panel.transData.transform((point.x, point.y))
    low = panel.transData.transform((point.x, max(point.low, bottom)))[1]
    high = panel.transData.transform((point.x, min(point.high, top)))[1]
    x += point.shift_points * scale
    half = CLEAR_POINTS * scale
    marker = Bbox.from_extents(x - half, y - half, x + half, y + half)
    return marker, Bbox.from_extents(x - 1.2 * scale, min(low, y), x + 1.2 * scale, max(high, y))


def _candidates(panel: Axes, text: str, members: Sequence[tuple[Bbox, Bbox]]) -> Iterator[Bbox]:
    scale = _pixels(panel)
    width, height, air = 0.64 * FONT_POINTS * len(text) * scale, 0.76 * FONT_POINTS * scale, 1.5 * scale
    around = Bbox.union([box for pair in members for box in pair])
    marker = Bbox.union([marker for marker, _ in members])
    x, y = (around.x0 + around.x1 - width) / 2, (marker.y0 + marker.y1 - height) / 2
    for left, bottom in (
        (x, around.y1 + air),
        (x, around.y0 - air - height),
        (around.x1 + air, y),
        (around.x0 - air - width, y),
    ):
        yield Bbox.from_bounds(left, bottom, width, height)


def _write(panel: Axes, text: str, box: Bbox) -> None:
    """Fixed on the page through the panel's own coordinates, so every file format shows it at the same place."""
    x, y = panel.transAxes.inverted().transform(((box.x0 + box.x1) / 2, box.y0))
    panel.text(x, y, text, ha="center", va="bottom", fontsize=FONT_POINTS, color=MUTED, transform=panel.transAxes)


def _pixels(panel: Axes) -> float:
    """Pixels of one point."""
    return panel.figure.dpi / 72.0
