"""What trains makes no tracking call: no way leads from it to what knows MLflow, and a dead server ends nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestrator.cli import run_command
from orchestrator.results import ResultsDir
from tests.test_architecture import PACKAGE, imports, own_files, package_files
from tests.tuning.faulty_server import HANG, faulty_server

TRACKING = {f"tuning/{name}.py" for name in ("tracking", "sync", "mirror", "dashboard", "run_content", "shown_run")}
TRAINING_PATH = re.compile(r"models/|training/|tuning/(attempt|serial|trial_record|pruning|events|ray_\w+)\.py")

SPEC = """\
name: tracked
axes: {depth: [1, 2]}
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 2.0}
data: {name: digits}
train: {epochs: 2, batch_size: 256, lr: 2.0e-3}
"""


def read(file: str) -> str:
    return (PACKAGE / file).read_text()


def tracking_reached(starts: Iterable[str], source_of: Callable[[str], str] = read) -> set[str]:
    """What knows MLflow and can be reached by imports from `starts`, those inside functions included."""
    due, seen, libraries = list(starts), set(starts), set[str]()
    while due:
        file = due.pop()
        source = source_of(file)
        libraries |= {name for name in imports(source, file) if name.partition(".")[0] == "mlflow"}
        new = own_files(source, file) - seen
        seen |= new
        due += new
    return (seen & TRACKING) | libraries


def test_no_file_of_the_training_path_reaches_tracking() -> None:
    path = [file for file in package_files() if TRAINING_PATH.match(file)]
    assert len(path) > 40
    assert tracking_reached(path) == set()


@pytest.mark.parametrize("line", ["def f():\n    import mlflow", "from orchestrator.tuning import mirror"])
def test_the_guard_can_fail(line: str) -> None:
    def planted(file: str) -> str:
        return read(file) + (f"\n{line}\n" if file == "seeding.py" else "")

    assert tracking_reached(["training/loop.py"], planted)


@pytest.mark.slow
def test_a_run_beside_a_server_that_never_answers_trains_to_the_end_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tracked.yaml").write_text(SPEC)
    with faulty_server() as server:
        server.play(then=HANG)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        code = run_command(["run", "tracked.yaml", "--executor", "serial"])
        said = capsys.readouterr().err
        assert server.seen, "the mirror asked, and only the mirror"
    assert code == 0
    assert "2 of 2 trials finished" in said
    warnings = [line for line in said.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert "`orch sync tracked`" in warnings[0]
    results = ResultsDir(tmp_path / "results")
    assert results.sweep("tracked").mlflow_behind_file.exists()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert run_command(["run", "tracked.yaml", "--executor", "serial"]) == 0
    assert not results.sweep("tracked").mlflow_behind_file.exists()
    from tests.tuning.shown import Shown

    shown = Shown(results, "tracked")
    assert len(shown.children) == 2
    assert all(len(shown.points(run)["train_loss"]) == 2 for run in shown.children.values())
