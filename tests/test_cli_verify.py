"""`orch verify` as a person meets it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from orchestrator import durable
from orchestrator.cli import run_command
from orchestrator.results import ResultsDir
from tests.trained_sweep import train_sweep, trial_ids


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ResultsDir:
    return train_sweep(tmp_path_factory.mktemp("trained") / "results")


@pytest.fixture
def copy(trained: ResultsDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultsDir:
    """The trained root, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return ResultsDir(shutil.copytree(trained.root, tmp_path / "results"))


def test_an_untouched_sweep_is_bit_equal(copy: ResultsDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", "tiny", "-k", "2"]) == 0
    captured = capsys.readouterr()
    assert "files: 4 finished trials held against their records" in captured.out
    assert "tiny: 2 trials trained again: 2 bit-equal" in captured.out
    assert "[2/2]" in captured.err, "progress goes to stderr"
    assert "notice" not in captured.err


def test_a_trial_is_named_by_its_first_digits_and_other_code_is_said_first(
    copy: ResultsDir, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy.trial(trial_ids(copy)[0])
    record = folder.read_record()
    assert record is not None
    origin = dataclasses.replace(record.provenance, code_fingerprint="0123456789abcdef")
    lied = dataclasses.replace(record, provenance=origin, val_acc=0.99)
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(lied))
    assert run_command(["verify", "tiny", "--trial", record.trial_id[:9], "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("notice: 1 of 1 trials were made by other code (fingerprint 0123456789abcdef")
    found = json.loads(captured.out)
    assert found["num_other_code"] == 1
    assert [trial["verdict"] for trial in found["trials"]] == ["different"]
    assert found["trials"][0]["differences"] == [f"val_acc: 0.99, now {record.val_acc}"]
    assert found["files"][0]["trial_id"] == record.trial_id


def test_weights_changed_behind_the_records_back_are_found_without_training(
    copy: ResultsDir, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (copy.trial(trial_id) for trial_id in trial_ids(copy)[:2])
    shutil.copy(second.final_weights_file, first.final_weights_file)
    durable.remove_folder(second.checkpoints)
    assert run_command(["verify", "tiny", "-k", "0"]) == 1
    out = capsys.readouterr().out
    assert f"DAMAGED {first.path.name}: " in out
    assert "4 finished trials held against their records, 1 of them without final weights" in out
    assert "no trial was trained again: 1 with damaged files" in out


def test_where_only_files_are_looked_at_nothing_is_said_to_be_trained(
    copy: ResultsDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["verify", "tiny", "-k", "0"]) == 0
    assert capsys.readouterr().out.endswith("\ntiny: no trial was trained again\n")


def test_what_makes_no_sense_is_said(copy: ResultsDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["verify", "tiny", "--trial", "zz"]) == 2
    assert run_command(["verify", "nothing"]) == 2
    assert run_command(["verify", "tiny", "--scratch", "nowhere"]) == 2
    err = capsys.readouterr().err
    assert "no finished measured trials of tiny have an id that starts with 'zz'" in err
    assert "--scratch nowhere is no folder" in err


def test_other_data_is_an_environment_and_nothing_is_left_in_the_scratch_folder(
    copy: ResultsDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for trial_id in trial_ids(copy):
        folder = copy.trial(trial_id)
        record = folder.read_record()
        assert record is not None
        origin = dataclasses.replace(record.provenance, data_fingerprint="other")
        durable.write_sealed_json(
            folder.record_file, dataclasses.asdict(dataclasses.replace(record, provenance=origin))
        )
    (tmp_path / "scratch").mkdir()
    assert run_command(["verify", "tiny", "--scratch", "scratch"]) == 3
    assert "is not what trial" in capsys.readouterr().err
    assert list((tmp_path / "scratch").iterdir()) == []
