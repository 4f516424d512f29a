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
from orchestrator.views import forked
from orchestrator.views.figures import FIGURES
from orchestrator.views.report import Report, write_report
from tests.views.answered_sweep import build_answered
from tests.views.sweep_builder import SweepBuilder, build_sweep, diverged, make_provenance, make_record

pytestmark = pytest.mark.slow  # whole reports, every figure in three formats

AXES: dict[str, Any] = {"depth": [12, 16], "attention": ["self", "reattention"]}
DRAWN = (
    "accuracy_vs_depth",
    "deltas_vs_depth",
    "similar_blocks_vs_depth",
    "map_similarity",
    "similarity_heat_map_softmax",
    "similarity_heat_map_map",
    "feature_similarity",
    "token_similarity",
    "attention_reach",
    "block_usefulness",
    "theta_and_batchnorm",
    "accuracy_vs_params",
    "accuracy_vs_flops",
    "learning_curves",
)
"""The figures of a sweep over depth with probes, in the order of the page."""
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
    return build_answered(root, AXES, seeds=3, num_images=200, **options)


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two figures, drawn and not written in full: for tests of what the page says."""
    few = [kind for kind in FIGURES if kind.name in ("accuracy_vs_depth", "token_similarity")]
    monkeypatch.setattr("orchestrator.views.figures.FIGURES", few)
    drawing = b'<svg viewBox="0 0 1 1"></svg>'
    monkeypatch.setattr("orchestrator.views.report.figure_files", lambda figure, name: {"svg": drawing})


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
    answer = page.text.partition("Read with care")[0]
    assert "Whether self-attention has saturated by 16 blocks cannot be told" in answer
    assert "Re-attention has not saturated by 16 blocks" in answer
    assert "Difference in differences from 12 to 16 blocks, Re-attention against self-attention: +" in answer
    assert "Complete: 12 of 12 trials finished." in answer
    assert "Best cell with self, chosen by validation accuracy" in answer
    assert "None: every trial of the sweep finished." in page.text


def test_the_report_names_every_file_it_wrote(complete: Report) -> None:
    written = {complete.path, *complete.figures, *complete.tables}
    assert written == {path for path in complete.path.parent.rglob("*") if path.is_file()}
    tables = {path.stem for path in complete.tables}
    assert tables == {"cells", "saturation", "deltas", "contrasts", "trials", "epochs", "blocks"}
    assert {path.name for path in complete.figures} == {f"{n}.{s}" for n in DRAWN for s in ("svg", "png", "pdf", "csv")}


def test_every_link_of_the_page_leads_to_a_file_beside_it(complete: Report, page: Page) -> None:
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a"]
    assert len(links) == 4 * len(DRAWN) + 7 * 2 + 4
    assert len(set(links)) == len(links)
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


def test_the_figures_stand_inline_in_their_order(page: Page) -> None:
    drawings = [attrs["id"] for tag, attrs in page.tags if tag == "svg"]
    assert drawings == [name.replace("_", "-") for name in DRAWN]


def test_what_is_not_drawn_is_named_with_its_reason(page: Page) -> None:
    left_out = page.text.partition("Figures that are left out")[2].partition("Cells")[0]
    assert "Accuracy against embedding dimension: the embedding dimension does not vary in this sweep." in left_out
    assert "Accuracy against depth at equal parameters: no two depths" in left_out


def test_the_tables_of_the_answer_are_on_the_page(page: Page) -> None:
    assert "reattention \N{MINUS SIGN} self" in page.text
    assert "difference in differences, 12 to 16 blocks" in page.text
    assert "over seeds and test images both" in page.text


def test_the_page_says_how_to_do_it_again(page: Page) -> None:
    assert "git checkout 0123456789abcdef0123456789abcdef01234567 orch run spec.yaml" in page.text
    assert "# Question: how deep?" in page.text
    assert "torch 2.15.0" in page.text


def test_the_numbers_of_a_table_and_of_its_file_agree(complete: Report, page: Page) -> None:
    with (complete.path.parent / "tables" / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all(f"{float(row['test_acc']) * 100:.2f}" in page.text for row in rows)


def test_equal_records_give_equal_bytes_wherever_the_root_lies(complete: Report, tmp_path: Path) -> None:
    build_answered(tmp_path / "near", {"depth": [4, 8]}, seeds=2, num_images=40, has_probes=False)
    shutil.copytree(tmp_path / "near", tmp_path / "far" / "away")
    near, far = (write_report(tmp_path / place, "depth_sweep") for place in ("near", "far/away"))
    assert contents(near) == contents(far)
    for report in (near, complete):
        assert str(report.path.parents[3]).encode() not in b"".join(contents(report).values())


def test_drawing_in_several_processes_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_answered(tmp_path, {"depth": [4, 8]}, seeds=2, num_images=40, has_probes=False)
    found = []
    for number in (1, 2):
        monkeypatch.setattr(forked, "num_useful_processes", lambda number=number: number)
        found.append(contents(write_report(tmp_path, "depth_sweep")))
    assert found[0] == found[1]


def test_a_sweep_without_cells_is_a_page_and_only_a_given_time_is_printed(page: Page, tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES, cells=[])
    report = write_report(tmp_path, "depth_sweep", now=datetime(2026, 2, 3, 4, 5, tzinfo=UTC))
    empty = Page(report.path.read_text()).text
    assert "0 of 0 trials finished" in empty
    assert "Accuracy against depth: no trial has finished yet." in empty
    assert "The sweep has no cells." in empty
    assert "Written 2026-02-03 04:05+00:00." in empty
    assert "Written" not in page.text


def test_a_sweep_that_has_not_begun_says_so(sketched: None, tmp_path: Path) -> None:
    build_sweep(tmp_path, AXES)
    page = Page(write_report(tmp_path, "depth_sweep").path.read_text())
    assert "Not complete: 0 of 12 trials finished (12 waiting)." in page.text
    assert page.text.count("not started") == 12
    assert "No snapshot of the spec" in page.text
    assert [attrs for tag, attrs in page.tags if tag == "svg"] == []
    assert page.text.index("Not complete: 0 of 12") < page.text.index("Figures that are left out")


def test_a_figure_that_an_earlier_report_had_is_gone_with_its_reason(sketched: None, tmp_path: Path) -> None:
    sweep = build_answered(tmp_path, {"depth": [4, 8]}, seeds=2, num_images=40)
    first = write_report(tmp_path, "depth_sweep")
    assert "token_similarity.csv" in {path.name for path in first.figures}
    mine = first.path.parent / "figures" / "mine.svg"
    mine.write_text("kept")
    for trial in sweep.trials:
        sweep.results.trial(trial.trial_id).probes_file.unlink()
    second = write_report(tmp_path, "depth_sweep")
    on_disk = {path for path in second.path.parent.rglob("*") if path.is_file()}
    assert on_disk == {second.path, *second.figures, *second.tables, mine}
    assert "Similarity of tokens: no finished trial of this sweep has probes" in second.path.read_text()


def test_the_margin_is_the_readers(sketched: None, complete: Report, tmp_path: Path) -> None:
    root = complete.path.parents[3]
    shutil.copytree(root, tmp_path / "copy", ignore=shutil.ignore_patterns("report"))
    page = Page(write_report(tmp_path / "copy", "depth_sweep", margin=0.5).path.read_text())
    assert "gains nothing beyond 12 blocks (equivalence test at 95 %, margin 50.0 points)" in page.text


def test_what_diverged_failed_or_broke_is_listed_with_its_reason(sketched: None, tmp_path: Path) -> None:
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
