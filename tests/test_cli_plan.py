"""`orch plan` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_cli import SPEC, files_below, run, train_serially


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the spec `tiny.yaml` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(SPEC)
    return tmp_path


def test_plan_names_what_changed_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "tiny.yaml") == 0
    told = capsys.readouterr().out
    assert "one after the other: ~" in told
    assert "from the speed of this processor" in told
    (folder / "gpu.yaml").write_text(SPEC + "resources: {gpus: 1}\n")
    assert run("plan", "gpu.yaml") == 0
    assert "unknown until the first epoch" in capsys.readouterr().out
    (folder / "both.yaml").write_text(SPEC + "resources: {overrides: [{when: {depth: 2}, gpus: 1}]}\n")
    assert run("plan", "both.yaml") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "one after the other: ~" in told
    assert "without 1 of 2 cells, whose time is unknown until the first epoch" in told
    assert not (folder / "results").exists()
    assert train_serially() == 0
    (folder / "tiny.yaml").write_text(SPEC.replace("lr: 2.0e-3", "lr: 1.0e-3"))
    before = files_below(folder)
    capsys.readouterr()
    assert run("plan", "tiny.yaml") == 0
    assert "changed: train.lr 0.002 -> 0.001" in capsys.readouterr().out
    assert files_below(folder) == before


def test_plan_times_cells_before_anything_is_trained_and_runs_keep_what_was_expected(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCH_CACHE", str(folder / "cache"))
    monkeypatch.setattr("orchestrator.tuning.calibration.BUDGET_S", 0.1)
    assert run("plan", "tiny.yaml", "--calibrate", "--price", "2.5", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["remaining_time_s"] > 0
    assert (plan["price"], plan["costs"]) == (2.5, 0.0)  # no GPU is asked for
    assert not (folder / "results").exists()
    assert run("plan", "tiny.yaml") == 0
    told = capsys.readouterr().out
    assert "unknown" not in told
    assert "~" not in told
    assert train_serially() == 0
    records = [json.loads(path.read_text()) for path in (folder / "results" / "trials").glob("*/record.json")]
    expected = [cell["trial_time_s"] for cell in plan["cells"]]
    assert all(any(record["predicted_time_s"] == pytest.approx(time) for time in expected) for record in records)
    assert {record["predicted_memory_mib"] for record in records} == {None}


def test_plan_tells_packs_and_prices_them_once_one_was_trained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("plan", "tiny.yaml") == 0
    assert "pack" not in capsys.readouterr().out
    packed = SPEC + "resources: {pack: 2}\n"
    (folder / "tiny.yaml").write_text(packed.replace("[1, 2]", "[1]"))
    assert run("plan", "tiny.yaml") == 0
    told = capsys.readouterr().out
    assert "in a pack" in told
    assert "where seeds are packed of as large a pack; --calibrate times seeds alone" in told
    assert train_serially() == 0
    (folder / "tiny.yaml").write_text(packed)
    capsys.readouterr()
    assert run("plan", "tiny.yaml", "--executor", "serial") == 0
    told = capsys.readouterr().out
    assert [line.split()[1:3] for line in told.splitlines()[1:3]] == [["2/2", "-"], ["0/2", "2"]]
    assert "s a pack" in told
    assert "unknown until" not in told
    assert "a pack of fewer seeds counts as a largest one" in told
