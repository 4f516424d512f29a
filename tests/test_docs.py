"""README, guides and decisions cannot drift: files, links, commands, options, functions and numbers are checked."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from orchestrator.catalog import ATTENTIONS
from orchestrator.cli import cli, run_command
from orchestrator.errors import OrchestratorError, StoppedError
from orchestrator.grid import expand_grid
from orchestrator.record import State
from orchestrator.spec import loads_spec
from tests.markdown_pages import ROOT, anchors, commands, forget_modules_of, links, prose, read_blocks

README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])


def section(title: str) -> str:
    """The text of the README under this heading."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(text: str) -> list[list[str]]:
    """Rows of the tables in `text`, heads and rules left out."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    rules = [index for index, row in enumerate(rows) if set("".join(row)) <= {"-"}]
    return [row for index, row in enumerate(rows) if index not in rules and index + 1 not in rules]


def tree_paths(text: str) -> list[str]:
    """Paths in a tree drawn by indentation."""
    parents: dict[int, str] = {}
    found = []
    for line in text.splitlines():
        name = line.split()[0]
        indent = len(line) - len(line.lstrip())
        parent = max((level for level in parents if level < indent), default=None)
        path = ("" if parent is None else parents[parent]) + name
        found.append(path)
        if name.endswith("/"):
            parents = {level: folder for level, folder in parents.items() if level < indent} | {indent: path}
    return found


def annotated_tree() -> list[str]:
    return next(block.text for block in read_blocks(section("How it works"))).splitlines()


def test_every_file_in_the_tree_exists_and_is_explained() -> None:
    lines = annotated_tree()
    assert [path for path in tree_paths("\n".join(lines)) if not (ROOT / path).exists()] == []
    assert [line for line in lines if len(line.split()) < 2] == []


def test_every_module_of_the_package_is_in_the_tree() -> None:
    package = ROOT / "orchestrator"
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".j2")]
    modules = {path.relative_to(ROOT).as_posix() for path in files if not path.name.startswith("__")}
    listed = [path for path in tree_paths("\n".join(annotated_tree())) if not path.endswith("/")]
    assert sorted(listed) == sorted(modules)


def test_the_tree_stands_in_the_order_data_flows() -> None:
    rooms = [path for path in tree_paths("\n".join(annotated_tree())) if path.count("/") == 1 or path.endswith("/")]
    folders = [
        path.removeprefix("orchestrator/") for path in rooms if path.startswith("orchestrator/") and path[-1] == "/"
    ]
    assert [folder for folder in folders if folder] == ["grids/", "models/", "training/", "tuning/", "views/"]


def test_the_tree_reader_reads_folders_in_folders() -> None:
    text = "a/\n  one.py  x\n  b/   y\n    two.py z\n  three.py w\nc/ v"
    assert tree_paths(text) == ["a/", "a/one.py", "a/b/", "a/b/two.py", "a/three.py", "c/"]


def broken_links(page: Path, text: str) -> Iterator[str]:
    for target in links(text):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", path):
            continue
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and anchor not in anchors(other.read_text())):
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    assert list(broken_links(page, page.read_text())) == []


def test_the_link_guard_can_fail() -> None:
    text = "[a](#how-it-works) [b](#nowhere) [c](docs/none.md) [d](docs/decisions.md#none) ![e](none.svg)"
    page = ROOT / "README.md"
    assert [t for t in links(text) if t in set(broken_links(page, text))] == [
        "#nowhere", "docs/none.md", "docs/decisions.md#none", "none.svg",
    ]  # fmt: skip


def test_the_commands_of_the_readme_are_those_there_are() -> None:
    rows = [row for row in table(section("Commands")) if row[0].startswith("`orch ")]
    assert [row[0].strip("`").split()[1] for row in rows] == list(cli.commands)
    assert all(row[1] for row in rows)


def shown_commands(text: str) -> list[str]:
    """Every `orch ...` in blocks and in the prose."""
    blocks = [line for block in read_blocks(text) if block.language == "bash" for line in commands(block)]
    return [line for line in blocks if line.startswith("orch ")] + re.findall(r"`(orch [^`]+)`", prose(text))


def wrong_words(line: str) -> list[str]:
    """Commands and options in a command line that orch does not have."""
    words = line.partition("#")[0].split()[1:]
    if words[0].startswith("-"):
        return [] if words[0] in ("--help", "--version") else words[:1]
    command = cli.commands.get(words[0])
    if command is None:
        return words[:1]
    options = {name for param in command.params if isinstance(param, click.Option) for name in param.opts}
    return [word for word in words if word.startswith("-") and word.split("=")[0] not in options]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_that_is_shown_exists(page: Path) -> None:
    shown = shown_commands(page.read_text())
    assert [line for line in shown if wrong_words(line)] == []


def test_the_guard_of_shown_commands_can_fail() -> None:
    assert wrong_words("orch train x.yaml") == ["train"]
    assert wrong_words("orch run x.yaml --fast --json") == ["--fast"]
    assert wrong_words("orch plan x.yaml --results DIR  # --fast") == []


def test_the_make_targets_that_are_shown_exist() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = {word for page in PAGES for word in re.findall(r"(?:`|^)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"demo", "test"} <= shown <= set(targets)


def test_the_exit_codes_are_those_of_the_errors() -> None:
    def codes(cls: type[OrchestratorError]) -> set[int]:
        return {cls.exit_code}.union(*(codes(child) for child in cls.__subclasses__()))

    known = codes(OrchestratorError) | {0, StoppedError(signal_number=15).exit_code}
    told = {int(code) for row in table(section("Commands")) for code in re.findall(r"^\d+|(?<=, )\d+$", row[0])}
    assert told == known


def test_the_example_has_the_cells_and_trials_it_claims() -> None:
    text = section("One spec, explained")
    (block,) = [block for block in read_blocks(text) if block.language == "yaml"]
    grid = expand_grid(loads_spec(block.text))
    assert f"This one has {len(grid.cells)} cells and {len(grid.trials)} trials" in text
    assert grid.warnings == ()
    assert grid.num_excluded > 0
    assert grid.num_collapsed > 0
    assert set(ATTENTIONS) > {cell.axes["attention"] for cell in grid.cells} >= {"self", "reattention"}
    keys = [line.partition(":")[0] for line in block.text.splitlines() if re.match(r"[a-z]", line)]
    assert [key for key in keys if f"`{key}`" not in prose(text)] == ["name"]


def test_the_functions_of_a_trials_way_exist() -> None:
    named = re.findall(r"`([a-z_.]+)\.([a-z_]+)`", prose(section("How it works")))
    assert len(named) >= 8
    for module, function in named:
        assert callable(getattr(importlib.import_module(f"orchestrator.{module}"), function))


def test_the_states_are_those_there_are() -> None:
    (meaning,) = [row[1] for row in table(section("Words")) if row[0] == "state"]
    assert re.findall(r"[A-Z]+", meaning) == [state.value for state in State]


def test_the_ten_lines_of_an_attention_of_ones_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = section("Add an attention")
    (block,) = [block for block in read_blocks(text) if block.title]
    (axis,) = re.findall(r"`(attention: \[self, [^`]+\])`", prose(text))
    assert len(block.text.splitlines()) == 10
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / block.title).write_text(block.text)
    (tmp_path / "own.yaml").write_text(
        f"name: own\naxes:\n  {axis}\nmodel: {{depth: 2, embed_dim: 8, num_heads: 2, patch_size: 4}}\n"
        "data: {name: digits}\ntrain: {epochs: 1, batch_size: 256, lr: 1e-3}\ntracking: {mlflow: false}\n"
    )
    assert run_command(["run", "own.yaml", "--executor", "serial"]) == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "results/trials").glob("*/record.json")]
    assert sorted(record["state"] for record in records) == ["COMPLETE", "COMPLETE"]
    trials = [json.loads(path.read_text()) for path in (tmp_path / "results/trials").glob("*/trial.json")]
    assert "uniform:UniformAttention" in json.dumps(trials)
    forget_modules_of(tmp_path)


def test_every_decision_has_its_day() -> None:
    text = (ROOT / "docs/decisions.md").read_text()
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert len(headings) > 10
    assert [heading for heading in headings if not re.match(r"20\d\d-\d\d-\d\d \S", heading)] == []
    for part in text.split("\n## ")[1:]:
        days = re.findall(r"^### (\S+)", part, re.MULTILINE)
        assert days == sorted(days)


def load_publish() -> ModuleType:
    """docs/publish.py, which stands in no package."""
    spec = importlib.util.spec_from_file_location("publish", ROOT / "docs" / "publish.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


DRAWN = """\
source,kind,curve,depth,trial_id,seed,n,acc_percent,low_percent,high_percent
this sweep,mean,self,12,,,3,94.04,93.01,95.06
this sweep,mean,reattention,12,,,3,95.55,95.04,96.05
this sweep,mean,self,16,,,1,94.5,,
this sweep,seed,self,12,abc,0,,94.1,,
"published, ImageNet-1k",published,ViT,16,,,,78.88,,
"""


def test_the_published_table_has_means_with_their_intervals_and_seeds() -> None:
    made = load_publish().make_section(DRAWN)
    assert made.splitlines()[2:] == [
        "Test accuracy in percent on the bundled digits: mean over 1 to 3 seeds, 95 % interval over seeds and images.",
        "",
        "| blocks | self | reattention |",
        "|---|---|---|",
        "| 12 | 94.0 (93.0 to 95.1) | 95.5 (95.0 to 96.0) |",
        "| 16 | 94.5 |  |",
    ]


def test_publishing_replaces_what_stands_between_the_marks_and_nothing_else() -> None:
    publish = load_publish()
    page = f"before\n{publish.BEGIN}old\n{publish.END}after\n"
    once = publish.put_section(page, "new\n")
    assert once == f"before\n{publish.BEGIN}new\n{publish.END}after\n"
    assert publish.put_section(once, "new\n") == once
    assert README.count(publish.BEGIN) == README.count(publish.END) == 1


def test_the_figure_and_the_table_of_the_readme_are_of_the_same_numbers() -> None:
    numbers = ROOT / "docs" / "figures" / "accuracy_vs_depth.csv"
    publish = load_publish()
    assert publish.put_section(README, publish.make_section(numbers.read_text())) == README
    assert numbers.with_suffix(".svg").exists()
