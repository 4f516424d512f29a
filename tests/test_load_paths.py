"""Nothing that is loaded is a pickle: no call that would unpickle, and a planted bomb is named and does nothing."""

from __future__ import annotations

import ast
import io
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import durable
from orchestrator.errors import DataError, ResultsError
from orchestrator.training import cache
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.probe_store import ProbeStore
from orchestrator.views.probe_rows import read_probes
from orchestrator.views.table import read_table
from tests.test_architecture import PACKAGE, ROOT
from tests.views.sweep_builder import SweepBuilder, build_sweep

PICKLING = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
EVALUATING = {"eval", "exec"}
PEERS = {"benchmarks/orchestration_peers.py": {"joblib"}}
"""What a benchmark measures `orch` against may start processes as it likes; it loads no file."""
SAFE_ARGUMENTS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
"""Calls that unpickle unless they are told not to, and what has to be written out."""


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def complaints(source: str) -> Iterator[str]:
    """Every way in which `source` could run what it loads."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (name for name in names if name.partition(".")[0] in PICKLING)
        if isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    name = dotted(node.func).replace("numpy.", "np.")
    given = {word.arg: word.value for word in node.keywords}
    if name in EVALUATING or name.endswith(("read_pickle", "load_state_dict_from_url", "torch.hub.load")):
        yield name
    for call, (argument, wanted) in SAFE_ARGUMENTS.items():
        value = given.get(argument)
        if name == call and not (isinstance(value, ast.Constant) and value.value is wanted):
            yield f"{call} without {argument}={wanted}"


def test_no_file_of_the_package_can_run_what_it_loads() -> None:
    folders = (PACKAGE, ROOT / "benchmarks", ROOT / "docs")
    found = {
        path.relative_to(PACKAGE.parent).as_posix(): wrong
        for folder in folders
        for path in folder.rglob("*.py")
        if (wrong := set(complaints(path.read_text())))
    }
    assert found == PEERS


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from cloudpickle import loads",
        "def f():\n    import joblib",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path)",
        "pd.read_pickle(path)",
        "eval(text)",
    ],
)
def test_the_guard_of_load_paths_can_fail(source: str) -> None:
    assert len(list(complaints(source))) == 1


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.mark),))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "went_off"


@pytest.fixture
def bomb(mark: Path) -> bytes:
    return pickle.dumps(Bomb(mark))


@pytest.fixture
def array_bomb(mark: Path) -> bytes:
    """A file of arrays, one of which is a pickle."""
    buffer = io.BytesIO()
    content = np.array([Bomb(mark)], dtype=object)
    np.savez(buffer, is_correct=content, num_images=content, epoch=content)
    return buffer.getvalue()


@pytest.fixture
def sweep(tmp_path: Path) -> SweepBuilder:
    sweep = build_sweep(tmp_path / "results", {"depth": [2]}, seeds=2)
    for trial in sweep.trials:
        sweep.finish(trial)
    return sweep


def test_the_bombs_go_off_where_they_are_unpickled(mark: Path, bomb: bytes, array_bomb: bytes) -> None:
    pickle.loads(bomb)
    mark.rmdir()
    with np.load(io.BytesIO(array_bomb), allow_pickle=True) as content:
        assert len(content["is_correct"]) == 1
    assert mark.exists()


@pytest.mark.parametrize(
    "name", ["record_file", "trial_file", "metrics_file", "attempts/1.json", "predictions_file", "probes_file"]
)
def test_a_bomb_in_a_trials_folder_is_named_and_does_nothing(
    sweep: SweepBuilder, mark: Path, bomb: bytes, array_bomb: bytes, name: str
) -> None:
    folder = sweep.results.trial(sweep.trials[0].trial_id)
    path = folder.path / name if "/" in name else getattr(folder, name)
    for content in (bomb, array_bomb):
        durable.write_bytes(path, content)
        table = read_table(sweep.results, sweep.name)
        blocks = read_probes(sweep.results, sweep.name)
        assert len(table) == 2
        if name in ("record_file", "probes_file"):
            notices = [*table.attrs["notices"], *blocks.attrs["notices"]]
            assert any(path.name in notice for notice in notices), notices
    assert not mark.exists()


def test_a_bomb_in_a_sweeps_folder_is_named_and_does_nothing(sweep: SweepBuilder, mark: Path, bomb: bytes) -> None:
    folder = sweep.results.sweep(sweep.name)
    for path, read in ((folder.trials_file, folder.read_index), (folder.tuned_file, folder.read_tuned)):
        durable.write_bytes(path, bomb)
        with pytest.raises(ResultsError, match=path.name):
            read()
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "optimizer.json", "progress.json"])
def test_a_bomb_in_a_checkpoint_is_named_and_stepped_over(
    tmp_path: Path, mark: Path, bomb: bytes, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"model.safetensors": b"", "optimizer.safetensors": b"", "optimizer.json": b"[]", "progress.json": b"{}"}
    durable.commit_folder(tmp_path / "checkpoints" / "3-0", files)
    durable.write_bytes(tmp_path / "checkpoints" / "3-0" / name, bomb)
    assert CheckpointStore(tmp_path / "checkpoints").load_newest() is None
    assert "3-0 is stepped over" in caplog.text
    assert not mark.exists()


def test_weights_that_are_a_bomb_under_a_true_checksum_are_refused(tmp_path: Path, mark: Path, bomb: bytes) -> None:
    """Whoever can write the folder can write the checksum too; safetensors itself then has to hold."""
    from safetensors.torch import load

    durable.commit_folder(tmp_path / "final", {"model.safetensors": bomb})
    with pytest.raises(Exception, match=r"(?i)header|safetensor"):
        load(durable.read_folder(tmp_path / "final")["model.safetensors"])
    assert not mark.exists()


def test_a_bomb_among_probed_moments_and_in_the_cache_does_nothing(
    tmp_path: Path, mark: Path, bomb: bytes, array_bomb: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch, content in enumerate((bomb, array_bomb)):
        durable.write_bytes(tmp_path / "probes" / f"{epoch}.npz", content)
    assert ProbeStore(tmp_path / "probes").moments() == []
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "WORTH_KEEPING", 0)
    durable.commit_folder(tmp_path / "cache/decoded/key", {"pixels": bomb, "content.json": b'{"shape": [1]}'})
    with pytest.raises((DataError, ResultsError, ValueError)):
        cache.decoded(1, "key", lambda: pytest.fail("the cache is read"))
    assert not mark.exists()
