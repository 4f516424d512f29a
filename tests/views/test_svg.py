"""Drawings inside a page: ids apart, nothing from outside, nothing hidden."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from orchestrator.views.plots_style import figure_files, house_style
from orchestrator.views.svg import inline_svg

AWKWARD = 'a --> <script>alert(1)</script> & "b" $x_1$'


def draw(title: str = "plain") -> bytes:
    with house_style():
        figure = Figure(figsize=(3, 2))
        panel = figure.add_subplot()
        panel.plot([1, 2], [3, 4], "o-")
        panel.set_title(title)
    return figure_files(figure, "drawing")["svg"]


def ids(markup: str) -> list[str]:
    return re.findall(r'\sid="([^"]*)"', markup)


def test_two_drawings_of_one_page_share_no_id() -> None:
    first, second = inline_svg(draw(), "one", "One"), inline_svg(draw(), "two", "Two")
    assert len(ids(first)) > 10
    assert set(ids(first)).isdisjoint(ids(second))
    assert len(set(ids(first))) == len(ids(first))


def test_every_reference_points_into_its_own_drawing() -> None:
    markup = inline_svg(draw(), "one", "One")
    targets = set(re.findall(r'href="#([^"]*)"', markup)) | set(re.findall(r"url\(#([^)]*)\)", markup))
    assert targets
    assert targets <= set(ids(markup))


def test_prolog_comments_and_metadata_are_gone() -> None:
    markup = inline_svg(draw(AWKWARD), "one", "One")
    assert markup.startswith("<svg ")
    assert not re.search(r"<!--|<!DOCTYPE|<\?xml|<metadata|<script", markup)
    assert set(re.findall(r"https?://[^\s\"'<>]+", markup)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_the_drawing_is_well_formed_and_describes_itself() -> None:
    root = ElementTree.fromstring(inline_svg(draw(AWKWARD), "one", 'Depth & "more"'))
    assert root.get("aria-label") == 'Depth & "more"'
    assert root.get("id") == "one"
    assert re.fullmatch(r"--natural:\d+(\.\d+)?rem", root.get("style", ""))


def test_the_style_sheet_reaches_only_its_own_drawing() -> None:
    sheets = re.findall(r"<style[^>]*>([^<]*)</style>", inline_svg(draw(), "one", "One"))
    assert sheets
    assert all(sheet.startswith("#one *{") for sheet in sheets)
