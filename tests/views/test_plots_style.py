"""Looks: distinct in colour and in grey, equal across figures, equal bytes for equal input."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from orchestrator.views.plots_style import (
    COLORS,
    MAX_CURVES,
    ONLY_PANEL,
    figure_files,
    house_style,
    shorten,
    style_curves,
)


def parts(**axes: list[str]) -> dict[str, dict[str, str]]:
    return {", ".join(values): dict(zip(axes, values, strict=True)) for values in product(*axes.values())}


def luminance(color: str) -> float:
    """Relative luminance of WCAG 2.1."""
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_no_two_curves_of_a_panel_look_the_same() -> None:
    for curves in (
        parts(attention=[f"a{n}" for n in range(14)]),
        parts(attention=["self", "reattention"], embed_dim=["32", "48", "96"]),
        parts(attention=["self", "reattention"], embed_dim=["32", "48"], lr=["1", "2", "3"]),
    ):
        styles = list(style_curves(curves).values())
        looks = [(style.panel, style.color, style.marker, style.line, style.is_filled) for style in styles]
        assert len(set(looks)) == len(looks)


def test_up_to_ten_attentions_differ_in_marker_too() -> None:
    markers = [style.marker for style in style_curves(parts(attention=[f"a{n}" for n in range(10)])).values()]
    assert len(set(markers)) == 10


def test_the_studied_attentions_look_the_same_in_every_figure() -> None:
    alone = style_curves(parts(attention=["reattention"], embed_dim=["32", "48"]))
    among = style_curves(parts(attention=["other", "self", "reattention"]))
    assert among["reattention"].color == COLORS[1]
    assert among["self"].color == COLORS[0]
    assert len({style.color for style in among.values()}) == 3
    assert len({style.color for style in alone.values()}) == 2  # the width is what varies here


def test_a_third_axis_becomes_panels_whose_titles_the_legend_does_not_repeat() -> None:
    styles = style_curves(parts(attention=["self", "reattention"], embed_dim=["32", "48"], lr=["lr 1", "lr 2"]))
    assert {style.panel for style in styles.values()} == {"lr 1", "lr 2"}
    assert {style.name for style in styles.values()} == {"self, 32", "self, 48", "reattention, 32", "reattention, 48"}


def test_a_panel_never_holds_too_many_curves() -> None:
    styles = style_curves(parts(attention=[f"a{n}" for n in range(13)]))
    titles = [style.panel for style in styles.values()]
    assert max(titles.count(title) for title in titles) <= MAX_CURVES
    assert titles[0] == "This sweep (1 of 3)"
    assert style_curves(parts(attention=["self"]))["self"].panel == ONLY_PANEL


def test_an_axis_that_repeats_another_takes_no_look_of_its_own() -> None:
    curves = {f"c{n}": {"embed_dim": str(n), "num_heads": f"h{n}"} for n in range(3)}
    assert {style.panel for style in style_curves(curves).values()} == {ONLY_PANEL}


def test_every_colour_stands_out_from_white() -> None:
    assert all((1.0 + 0.05) / (luminance(color) + 0.05) > 2.0 for color in COLORS)
    assert all(abs(luminance(a) - luminance(b)) > 0.005 for a, b in combinations(COLORS, 2))


@pytest.mark.parametrize(
    ("text", "limit", "short"),
    [
        ("short", 10, "short"),
        ("abcdefghijklmnop", 10, "abcdef\N{HORIZONTAL ELLIPSIS}nop"),
        ("two\nlines\t here", 20, "two lines here"),
        ("bell\x07", 10, "bell?"),
    ],
)
def test_a_long_text_loses_its_middle(text: str, limit: int, short: str) -> None:
    assert shorten(text, limit) == short
    assert len(shorten(text, limit)) <= limit


def draw(title: str) -> dict[str, bytes]:
    with house_style():
        figure = Figure(figsize=(2, 1.5))
        figure.add_subplot().plot([1, 2], [2, 1], "o-")
        figure.axes[0].set_title(title)
    return figure_files(figure, "drawing")


def test_equal_figures_are_equal_bytes_without_a_date() -> None:
    first, second = draw("one"), draw("one")
    assert first == second
    assert draw("two")["svg"] != first["svg"]
    assert first["png"].startswith(b"\x89PNG")
    assert first["pdf"].startswith(b"%PDF")
    assert b"CreationDate" not in first["pdf"]
    assert b"<dc:date>" not in first["svg"]


def test_text_of_a_user_is_never_read_as_mathematics() -> None:
    assert draw(r"$\frac{$ costs 5$")["svg"]


def test_a_character_without_a_glyph_is_no_error() -> None:
    assert draw("\u6df1\u5ea6")["png"]
