"""The page: complete, unfinished and empty sweeps; offline, escaped, equal bytes wherever the root lies."""

from __future__ import annotations

import csv
import re
import shutil
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator import durable
from orchestrator.errors import ResultsError, UsageError
from orchestrator.views.report import Report, write_report
from tests.views.sweep_builder import SweepBuilder, build_sweep, diverged, make_provenance, make_record

AXES: dict[str, Any] = {"depth": [12, 24], "attention": ["self", "reattention"]}
SCRIPT = "<script>alert('x')</script>"


class Page(HTMLParser):
    """Tags, attributes and visible text of a page."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def finished(root: Path, **options: Any) -> SweepBuilder:
    sweep = build_sweep(root, AXES, **options)
    for number, trial in enumerate(sweep.trials):
        sweep.train(trial, [0.5, 0.8, 0.9])
        sweep.finish(trial, make_record(trial, test_acc=0.9 + number / 200, val_acc=0.9 + number / 200))
    return sweep


def contents(report: Report) -> dict[str, bytes]:
    folder = report.path.parent
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Report:
    root = tmp_path_factory.mktemp("complete")
    sweep = finished(root)
    durable.write_text(sweep.results.sweep("depth_sweep").spec_file, "name: depth_sweep\n# Question: how deep?\n")
    return write_report(root, "depth_sweep")


@pytest.fixture(scope="module")
def page(complete: Report) -> Page:
    return Page(complete.path.read_text())


def test_a_complete_sweep_is_answered_in_its_first_paragraph(page: Page) -> None:
    assert "Complete: 12 of 12 trials finished." in page.text
    assert "Best cell with self, chosen by validation accuracy" in page.text
    assert "None: every trial of the sweep finished." in page.text


def test_the_report_names_every_file_it_wrote(complete: Report) -> None:
    written = {complete.path, *complete.figures, *complete.tables}
    assert written == {path for path in complete.path.parent.rglob("*") if path.is_file()}
    assert {path.name for path in complete.tables} == {"cells.csv", "trials.csv", "epochs.csv"}
    names = ("accuracy_vs_depth", "learning_curves", "accuracy_vs_params")
    assert {path.name for path in complete.figures} == {f"{n}.{s}" for n in names for s in ("svg", "png", "pdf", "csv")}


def test_every_link_of_the_page_leads_to_a_file_beside_it(complete: Report, page: Page) -> None:
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    assert len(links) == 15
    assert all((complete.path.parent / link).is_file() for link in links)


def test_the_page_asks_nothing_of_the_network(page: Page) -> None:
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs) or ""
    assert policy.startswith("default-src 'none'")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    loading = [
        (name, value or "")
        for _, attrs in page.tags
        for name, value in attrs.items()
        if name not in ("xmlns", "xmlns:xlink")
    ]
    assert not [pair for pair in loading if re.search(r"(?i)https?:|//|data:|javascript:", pair[1])]
    assert not re.search(r"url\((?!#)|@import", "".join(page.texts))
    assert not [name for name, _ in loading if name.startswith("on")]


def test_no_two_elements_of_the_page_share_an_id(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) > 50
    assert len(set(ids)) == len(ids)


def test_the_three_figures_stand_inline_with_their_captions(page: Page) -> None:
    drawings = [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert drawings == ["Accuracy against depth", "Learning curves", "Accuracy against parameters"]
    assert page.text.count("n = 3 seeds a cell") == 3


def test_the_page_says_how_to_do_it_again(page: Page) -> None:
    assert "git checkout 0123456789abcdef0123456789abcdef01234567 orch run spec.yaml" in page.text
    assert "# Question: how deep?" in page.text
    assert "torch 2.15.0" in page.text


def test_the_numbers_of_a_table_and_of_its_file_agree(complete: Report, page: Page) -> None:
    with (complete.path.parent / "tables" / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["test_acc"]) == pytest.approx(0.905)
    assert all(f"{float(row['test_acc']) * 100:.2f}" in page.text for row in rows)


def test_equal_records_give_equal_bytes_wherever_the_root_lies(complete: Report, tmp_path: Path) -> None:
    root = complete.path.parents[3]
    shutil.copytree(root, tmp_path / "far" / "away", ignore=shutil.ignore_patterns("report"))
    moved = write_report(tmp_path / "far" / "away", "depth_sweep")
    assert contents(moved) == contents(complete)
    assert str(root).encode() not in b"".join(contents(complete).values())


def test_a_sweep_without_cells_is_a_page_and_only_a_given_time_is_printed(page: Page, tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES, cells=[])
    report = write_report(tmp_path, "depth_sweep", now=datetime(2026, 2, 3, 4, 5, tzinfo=UTC))
    empty = Page(report.path.read_text()).text
    assert "0 of 0 trials finished" in empty
    assert "The sweep has no cells." in empty
    assert "Written 2026-02-03 04:05+00:00." in empty
    assert "Written" not in page.text


def test_a_sweep_that_has_not_begun_says_so(tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES)
    page = Page(write_report(tmp_path, "depth_sweep").path.read_text())
    assert "Not complete: 0 of 12 trials finished (12 waiting)." in page.text
    assert page.text.count("not started") == 12
    assert "No snapshot of the spec" in page.text
    assert [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"] == ["Accuracy against depth"]


def test_what_diverged_failed_or_broke_is_listed_with_its_reason(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.finish(sweep.trials[0], diverged(sweep.trials[0]))
    sweep.begin(sweep.trials[1])
    sweep.end_attempt(sweep.trials[1], 1, "FAIL", "out of memory")
    for trial in sweep.trials[2:]:
        sweep.finish(trial)
    record = sweep.results.trial(sweep.trials[2].trial_id).record_file
    record.write_text("{}")
    page = Page(write_report(tmp_path, "depth_sweep").path.read_text())
    assert "9 of 12 trials finished (1 diverged, 1 failed" in page.text
    assert "the training loss became nan in epoch 2 at step 7" in page.text
    assert "out of memory" in page.text
    assert f"Damaged: trials/{sweep.trials[2].trial_id}/record.json is damaged" in page.text
    assert all(trial.trial_id in page.text for trial in sweep.trials[:3])


def test_text_of_a_user_is_shown_and_never_run(tmp_path: Path) -> None:
    axes = {"depth": [12], "attention": [SCRIPT], "embed_dim": [48]}
    sweep = build_sweep(tmp_path, AXES, question=SCRIPT, cells=[{"depth": 12, "attention": "self"}], seeds=2)
    index = sweep.results.sweep("depth_sweep").trials_file
    content = durable.read_sealed_json(index)
    for member in content["members"]:
        member["axes"] = {name: values[0] for name, values in axes.items()}
    durable.write_sealed_json(index, {**content, "axes": list(axes)})
    host = make_provenance(host=SCRIPT, command=SCRIPT, device=SCRIPT)
    sweep.finish(sweep.trials[0], make_record(sweep.trials[0], provenance=host))
    sweep.train(sweep.trials[0], [0.5])
    sweep.begin(sweep.trials[1])
    sweep.end_attempt(sweep.trials[1], 1, "FAIL", SCRIPT)
    durable.write_text(sweep.results.sweep("depth_sweep").spec_file, SCRIPT)
    markup = write_report(tmp_path, "depth_sweep").path.read_text()
    page = Page(markup)
    assert "<script" not in markup
    assert page.text.count(SCRIPT) >= 8


def test_an_unknown_sweep_writes_nothing(tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES)
    with pytest.raises(UsageError, match="no sweep"):
        write_report(tmp_path, "other")
    assert [path.name for path in (tmp_path / "sweeps").iterdir()] == ["depth_sweep"]


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.results.sweep("depth_sweep").report.write_text("a file in the way")
    with pytest.raises(ResultsError, match="cannot write"):
        write_report(tmp_path, "depth_sweep")
