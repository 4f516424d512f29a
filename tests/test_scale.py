"""What every command costs a finished trial, in files opened: that decides how a root of 100,000 trials reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.simulated_results import SWEEP, write_results
from orchestrator.cli import run_command
from orchestrator.results import ResultsDir
from orchestrator.views.frames import read_frames
from tests.opened_files import opened_files

NUM_TRIALS = 40


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scale")
    write_results(folder, NUM_TRIALS, num_processes=1)
    return folder


def test_a_root_that_is_there_is_not_written_again(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_results(root, NUM_TRIALS) == (root / f"{SWEEP}.yaml", NUM_TRIALS)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def opened_by(root: Path, *words: str) -> Counter[str]:
    """How often the command opened files of each name in trial folders."""
    with opened_files() as opened:
        assert run_command([*words, "--results", str(root)]) == 0
    return Counter(path.name for path in opened if root / "trials" in path.parents)


@pytest.mark.parametrize(
    "words",
    [
        ("run", "{root}/scale.yaml", "--executor", "serial"),
        ("status", SWEEP),
        ("status",),
        ("plan", "{root}/scale.yaml"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_finished_trial_costs_one_file(
    root: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert opened_by(root, *(word.format(root=root) for word in words)) == {"record.json": NUM_TRIALS}
    capsys.readouterr()


def test_what_a_report_is_made_from_costs_three_files_a_trial(root: Path) -> None:
    with opened_files() as opened:
        read_frames(ResultsDir(root), SWEEP)
    names = Counter(path.name for path in opened if root / "trials" in path.parents)
    assert names == dict.fromkeys(("record.json", "metrics.jsonl", "predictions.npz"), NUM_TRIALS)
