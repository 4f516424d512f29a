"""A real browser opens the dashboard and finds accuracy drawn against depth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from orchestrator import durable
from orchestrator.results import ResultsDir
from orchestrator.tuning.dashboard import Addresses
from orchestrator.tuning.sync import sync
from orchestrator.views.curves import name_curves
from tests.browser import BROWSER, dump_page
from tests.tuning.dashboard_server import served
from tests.tuning.shown import make_stored_sweep
from tests.tuning.sweep_files import make_index

DEPTHS = (2, 4, 8)
MEANS = {"self": (0.25, 0.5, 0.375), "reattention": (0.3125, 0.5625, 0.75)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed"),
]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Addresses]:
    results = ResultsDir(tmp_path_factory.mktemp("browser") / "results")
    index = make_index(DEPTHS, MEANS, (0, 1))
    accs = [MEANS[m.axes["attention"]][DEPTHS.index(m.axes["depth"])] + (-0.125, 0.125)[m.seed] for m in index.members]
    make_stored_sweep(results, index, accs)
    durable.write_text(results.sweep("s").report / "figures" / "accuracy_vs_depth.svg", "<svg/>")
    sync(results, "s", name_curves)
    with served(results) as addresses:
        yield addresses


def page(url: str, *expected: str) -> str:
    """The page at `url` once its scripts have run; opened again where a slow machine showed less than expected."""
    shown = ""
    for _ in range(3):
        shown = dump_page(url)
        if all(text in shown for text in expected):
            break
    return shown


def drawn(shown: str) -> list[int]:
    """The number of points of each line that is drawn; each comes with an empty one."""
    traces = re.findall(r'<g class="trace scatter.*?<g class="text"', shown, re.DOTALL)
    return [count for trace in traces if (count := trace.count('class="point"'))]


def test_the_charts_of_a_sweep_draw_one_line_a_curve_with_a_point_a_depth(addresses: Addresses) -> None:
    names = [f"{metric}/{curve}" for metric in ("test_acc", "val_acc") for curve in MEANS]
    shown = page(addresses.charts["s"], *names)
    assert [name for name in names if f"({name})" in shown] == names
    assert drawn(shown) == [len(DEPTHS)] * len(names)


def test_the_parent_says_what_was_asked_lists_its_trials_and_links_to_all_curves_in_one_chart(
    addresses: Addresses,
) -> None:
    overview = addresses.charts["s"].replace("/model-metrics", "")
    shown = page(overview, "How deep?", "of every curve", "-w16-s")
    for text in ("How deep?", "Finished", "0.5625", "2 of 2"):
        assert text in shown
    children = set(re.findall(r"d\d-[a-z]+-w16-s\d", shown))  # MLflow lists some and offers to load more
    assert len(children) > 1
    assert children <= {f"d{depth}-{curve}-w16-s{seed}" for depth in DEPTHS for curve in MEANS for seed in (0, 1)}
    link = re.search(r'href="([^"]*#/metric\?.*?workflowType=machine_learning)"', shown)
    assert link is not None
    together = page(f"{overview.partition('#')[0]}#{link[1].partition('#')[2]}", "(step=8)")
    assert drawn(together) == [len(DEPTHS)] * len(MEANS)
    assert "test_acc/reattention" in unquote(link[1])
    for curve, means in MEANS.items():
        assert f"test_acc/{curve}" in together
        assert f"{means[-1]} (step=8)" in together
        assert f"{min(means)} (step={DEPTHS[means.index(min(means))]})" in together
        assert f"{max(means)} (step={DEPTHS[means.index(max(means))]})" in together


def test_the_reports_figures_are_among_the_artifacts(addresses: Addresses) -> None:
    artifacts = addresses.charts["s"].replace("model-metrics", "artifacts/figures")
    assert "accuracy_vs_depth.svg" in page(artifacts, "accuracy_vs_depth.svg")
