from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from orchestrator import durable
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.tuning.checksums import check_files, read_is_correct, sha256_of_file
from tests.trained_sweep import TEXT, train_sweep, trial_ids


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ResultsDir:
    return train_sweep(tmp_path_factory.mktemp("trained"), TEXT.replace("[1, 2]", "[1]"))


@pytest.fixture
def folder(trained: ResultsDir, tmp_path: Path) -> TrialFolder:
    """A finished trial to be damaged."""
    results = ResultsDir(shutil.copytree(trained.root, tmp_path / "copy"))
    return results.trial(trial_ids(results)[0])


def problem(folder: TrialFolder) -> str:
    (found,) = check_files(folder).problems
    return found


def test_a_whole_trial_has_no_problem(folder: TrialFolder) -> None:
    report = check_files(folder)
    assert report.problems == ()
    assert report.has_weights
    assert report.record is not None
    assert sha256_of_file(folder.final_weights_file) == report.record.weights_sha256


def test_one_flipped_bit_of_the_weights_is_found(folder: TrialFolder) -> None:
    content = bytearray(folder.final_weights_file.read_bytes())
    content[-1] ^= 1
    folder.final_weights_file.write_bytes(content)
    assert "model.safetensors is not what was trained" in problem(folder)


def test_weights_replaced_together_with_their_manifest_are_found(folder: TrialFolder) -> None:
    durable.commit_folder(folder.final_weights_file.parent, {folder.final_weights_file.name: b"others"})
    assert "is not what was trained" in problem(folder)


def test_weights_that_were_freed_are_no_problem(folder: TrialFolder) -> None:
    durable.remove_folder(folder.checkpoints)
    report = check_files(folder)
    assert (report.problems, report.has_weights) == ((), False)


def test_changed_predictions_are_found(folder: TrialFolder) -> None:
    bits = read_is_correct(folder)
    assert bits is not None
    bits[0] ^= True
    np.savez_compressed(folder.predictions_file, is_correct=np.packbits(bits), num_images=len(bits))
    assert "predictions.npz is not what the record says" in problem(folder)
    folder.predictions_file.unlink()
    assert "predictions.npz is missing" in problem(folder)


def test_lost_and_changed_metric_rows_are_found(folder: TrialFolder) -> None:
    lines = folder.metrics_file.read_text().splitlines()
    folder.metrics_file.write_text(lines[0] + "\n")
    assert "has not the 2 epochs" in problem(folder)
    other = {**json.loads(lines[1]), "val_acc": 0.99}
    folder.metrics_file.write_text(f"{lines[0]}\n{json.dumps(other)}\n")
    assert "its checksum does not match" in problem(folder)
    del other["sha256"]
    folder.metrics_file.write_text(f"{lines[0]}\n{durable.seal_line(other)}\n")
    assert "last row" in problem(folder)
    folder.metrics_file.write_text("{}\n{}\n")
    assert "is damaged" in problem(folder)


def test_a_record_of_another_trial_is_found(folder: TrialFolder, trained: ResultsDir) -> None:
    other = trained.trial(trial_ids(trained)[1])
    shutil.copy(other.record_file, folder.record_file)
    assert f"is of trial {other.path.name}" in check_files(folder).problems[0]


def test_a_record_whose_question_was_changed_is_found(folder: TrialFolder) -> None:
    record = folder.read_record()
    assert record is not None
    asked = {**record.trial, "seed": 5}
    durable.write_sealed_json(folder.record_file, dataclasses.asdict(dataclasses.replace(record, trial=asked)))
    assert "is of trial" in problem(folder)


def test_another_question_beside_the_record_is_found(folder: TrialFolder) -> None:
    durable.write_json(folder.trial_file, {"seed": 1})
    assert "trial.json does not say" in problem(folder)


def test_a_cut_record_is_a_problem_and_an_unfinished_trial_is_none(folder: TrialFolder) -> None:
    folder.record_file.write_bytes(folder.record_file.read_bytes()[:40])
    assert "is damaged" in problem(folder)
    folder.record_file.unlink()
    assert check_files(folder).problems == ()
