"""One tidy table a sweep: what it holds, as its page says; the same from Python; and the notebook that reads it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pyarrow.parquet
import pytest

import orchestrator
from orchestrator.cli import run_command
from orchestrator.errors import UsageError
from orchestrator.views.columns import AXIS_MEANING, meanings_of
from orchestrator.views.export import Rows, choose_format, export_frame, read_rows
from tests.views.answered_sweep import build_answered
from tests.views.sweep_builder import SweepBuilder

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "export.md").read_text()
NOTEBOOK = ROOT / "docs" / "notebooks" / "explore_a_sweep.ipynb"
KINDS: tuple[Rows, ...] = get_args(Rows)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepBuilder:
    root = tmp_path_factory.mktemp("export") / "results"
    axes: dict[str, Any] = {"depth": [2, 4], "attention": ["self", "reattention"], "lr": [1e-3, 2e-3]}
    return build_answered(root, axes, seeds=2, num_images=40)


@pytest.mark.parametrize("rows", KINDS)
def test_the_columns_are_those_the_page_names_with_its_words_and_the_axes(sweep: SweepBuilder, rows: Rows) -> None:
    heading = {"trials": "A row a trial", "epochs": "A row an epoch", "blocks": "A row a block"}[rows]
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    named = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", text, re.MULTILINE))
    assert {name: words.replace(r"\|", "|") for name, words in named.items()} == dict(meanings_of(rows))
    frame = read_rows(sweep.results, sweep.name, rows)
    assert set(frame.columns) == {*named, "lr"}
    assert len(frame.columns) == len(set(frame.columns))


@pytest.mark.parametrize(("rows", "expected"), [("trials", 16), ("epochs", 48), ("blocks", 2 * 8 * (2 + 4))])
def test_there_is_a_row_for_each_of_what_was_asked(sweep: SweepBuilder, rows: Rows, expected: int) -> None:
    keys = {"trials": [], "epochs": ["epoch"], "blocks": ["epoch", "block_idx"]}[rows]
    frame = read_rows(sweep.results, sweep.name, rows)
    assert len(frame) == expected
    assert not frame.duplicated(["trial_id", *keys]).any()


@pytest.mark.parametrize("rows", KINDS)
def test_parquet_gives_back_the_frame_with_types_and_meanings(sweep: SweepBuilder, rows: Rows) -> None:
    frame = read_rows(sweep.results, sweep.name, rows)
    content = export_frame(frame, "parquet", rows)
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(content)), frame)
    schema = pyarrow.parquet.read_schema(io.BytesIO(content))
    told = {name: (schema.field(name).metadata or {})[b"meaning"].decode() for name in schema.names}
    assert told == {name: meanings_of(rows).get(name, AXIS_MEANING) for name in frame.columns}
    assert export_frame(frame, "parquet", rows) == content


@pytest.mark.parametrize("rows", KINDS)
def test_csv_has_the_same_numbers(sweep: SweepBuilder, rows: Rows) -> None:
    frame = read_rows(sweep.results, sweep.name, rows)
    found = pd.read_csv(io.BytesIO(export_frame(frame, "csv", rows)))
    numbers = [name for name in frame.columns if pd.api.types.is_float_dtype(frame[name])]
    assert len(numbers) > 4
    pd.testing.assert_frame_equal(found[numbers], frame[numbers], check_exact=True, check_dtype=False)


def test_what_is_missing_is_null_and_never_zero(sweep: SweepBuilder, tmp_path: Path) -> None:
    other = build_answered(tmp_path, {"depth": [2]}, seeds=2, num_images=40, has_probes=False)
    (other.results.trial(other.trials[0].trial_id).record_file).unlink()
    frame = read_rows(tmp_path, other.name)
    table = pyarrow.parquet.read_table(io.BytesIO(export_frame(frame, "parquet", "trials")))
    assert table.column("test_acc").null_count == 1
    assert len(read_rows(tmp_path, other.name, "blocks")) == 0
    assert len(export_frame(read_rows(tmp_path, other.name, "blocks"), "csv", "blocks").splitlines()) == 1


@pytest.mark.parametrize(
    ("output", "asked", "kind"),
    [(None, None, "parquet"), ("a.csv", None, "csv"), ("a", "csv", "csv"), ("a.PARQUET", None, "parquet")],
)
def test_the_format_is_what_was_asked_or_what_the_name_says(output: str | None, asked: Any, kind: str) -> None:
    assert choose_format(Path(output) if output else None, asked) == kind


@pytest.mark.parametrize(("output", "asked"), [("a.csv", "parquet"), ("a.xlsx", None)])
def test_a_name_that_says_another_format_is_refused(output: str, asked: Any) -> None:
    with pytest.raises(UsageError, match="--format"):
        choose_format(Path(output), asked)


def test_the_command_writes_the_file_and_prints_its_path(sweep: SweepBuilder, capsysbinary: Any) -> None:
    root = str(sweep.results.root)
    assert run_command(["export", sweep.name, "--results", root, "--json"]) == 0
    told = json.loads(capsysbinary.readouterr().out)
    assert told["path"].endswith("sweeps/depth_sweep/export/depth_sweep.trials.parquet")
    assert (told["num_rows"], told["rows"], told["format"]) == (16, "trials", "parquet")
    assert list(pd.read_parquet(told["path"]).columns) == told["columns"]
    assert (
        run_command(["export", sweep.name, "--results", root, "--rows", "blocks", "--format", "csv", "--output", "-"])
        == 0
    )
    printed = capsysbinary.readouterr().out
    assert printed == export_frame(read_rows(sweep.results, sweep.name, "blocks"), "csv", "blocks")
    assert run_command(["export", sweep.name, "--results", root, "--output", "-", "--json"]) == 2


def test_the_frames_are_at_the_front_door_and_opening_it_is_quick(sweep: SweepBuilder) -> None:
    for rows, read in (
        ("trials", orchestrator.read_table),
        ("epochs", orchestrator.read_epochs),
        ("blocks", orchestrator.read_blocks),
    ):
        pd.testing.assert_frame_equal(
            read(str(sweep.results.root), sweep.name), read_rows(sweep.results, sweep.name, rows)
        )
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = orchestrator.nothing_such
    light = "assert not {'pandas', 'numpy'} & set(sys.modules)"
    code = f"import orchestrator, sys; {light}; assert 'read_table' in dir(orchestrator); {light}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=ROOT)


def run_notebook(path: Path) -> dict[str, Any]:
    """The names that the notebook's code cells leave, run in order as a kernel would."""
    names: dict[str, Any] = {}
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}: {cell['id']}", "exec"), names)
    return names


def test_the_notebook_runs_on_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes: dict[str, Any] = {"depth": [2, 4], "attention": ["self", "reattention"]}
    build_answered(tmp_path / "results", axes, seeds=3, num_images=40)
    monkeypatch.chdir(tmp_path)
    names = run_notebook(NOTEBOOK)
    assert len(names["trials"]) == 12
    assert set(names["by_depth"]["count"]) == {3}
    assert set(names["blocks"]["moment"]) == {"untrained", "final"}


def test_the_notebook_is_kept_without_outputs_and_in_its_format() -> None:
    content = json.loads(NOTEBOOK.read_text())
    cells = content["cells"]
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert [cell["id"] for cell in cells if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", cell["id"])] == []
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
