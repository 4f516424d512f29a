"""`orch verify` and `orch gc` on a results root on an object store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import durable
from orchestrator.cli import run_command
from orchestrator.results import ResultsDir
from tests.s3_server import new_root, s3_server

KEPT = Path(__file__).parent / "data" / "results_1"


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture
def root() -> ResultsDir:
    """The kept results root, copied to the store."""
    results = ResultsDir(new_root())
    for path in (path for path in KEPT.rglob("*") if path.is_file()):
        durable.write_bytes(results.root / path.relative_to(KEPT).as_posix(), path.read_bytes())
    return results


def printed(capsys: pytest.CaptureFixture[str], root: ResultsDir, *words: str, code: int = 0) -> str:
    found = run_command([*words, "--results", str(root.root)])
    captured = capsys.readouterr()
    assert found == code, captured.err
    return captured.out


@pytest.mark.slow
def test_files_are_held_against_records_and_freed(root: ResultsDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert "4 finished trials held against" in printed(capsys, root, "verify", "kept", "-k", "0")
    trial_id = root.sweep("kept").read_index().members[0].trial_id
    weights = root.trial(trial_id).final_weights_file
    durable.write_bytes(weights, weights.read_bytes()[:-1] + b"?")
    assert f"DAMAGED {trial_id}" in printed(capsys, root, "verify", "kept", "-k", "0", code=1)
    dry = json.loads(printed(capsys, root, "gc", "kept", "--weights", "none", "--json"))
    assert dry["categories"]["weights"]["num"] == 4
    assert dry["bytes"] > 4 * 4000
    assert weights.exists()
    freed = json.loads(printed(capsys, root, "gc", "kept", "--weights", "none", "--yes", "--json"))
    assert (freed["freed"], freed["bytes"]) == (True, dry["bytes"])
    assert not weights.exists()
    assert json.loads(printed(capsys, root, "gc", "kept", "--weights", "none", "--json"))["bytes"] == 0
    assert "4 of them without final weights" in printed(capsys, root, "verify", "kept", "-k", "0")
