from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from orchestrator import durable
from orchestrator.errors import DataError, NotReadyError
from orchestrator.record import TrialRecord
from orchestrator.results import ResultsDir
from orchestrator.spec import loads_spec
from orchestrator.trial import PROTOCOL
from orchestrator.tuning.checksums import read_is_correct
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.verify import (
    Verdict,
    compare_trial,
    compare_trials,
    other_code,
    pick_trials,
    rounding_causes,
    train_again,
)
from tests.trained_sweep import TEXT, train_sweep, trial_ids
from tests.tuning.test_sweep import Ears

ONE_DEPTH = TEXT.replace("[1, 2]", "[1]")
SERIAL = RunOptions(executor="serial")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ResultsDir:
    return train_sweep(tmp_path_factory.mktemp("trained"), ONE_DEPTH)


def records_of(results: ResultsDir) -> list[TrialRecord]:
    records = [results.trial(trial_id).read_record() for trial_id in trial_ids(results)]
    return [record for record in records if record is not None]


def changed(record: TrialRecord, **changes) -> TrialRecord:
    """The record, with fields of it or of its provenance replaced."""
    names = {field.name for field in dataclasses.fields(record.provenance)}
    origin = dataclasses.replace(record.provenance, **{n: changes.pop(n) for n in list(changes) if n in names})
    return dataclasses.replace(record, provenance=origin, **changes)


def again(record: TrialRecord, results: ResultsDir, scratch: ResultsDir) -> None:
    spec = loads_spec(ONE_DEPTH)
    train_again([record], spec, results.sweep("tiny").read_index(), scratch, SERIAL, [Ears()])


def test_a_trial_trained_again_is_bit_equal_and_the_original_is_only_read(trained: ResultsDir, tmp_path: Path) -> None:
    scratch = ResultsDir(tmp_path / "scratch")
    record = records_of(trained)[0]
    before = {path: path.read_bytes() for path in trained.root.rglob("*") if path.is_file()}
    again(record, trained, scratch)
    (comparison,) = compare_trials([record], trained, scratch, tolerance=0.0)
    assert comparison.verdict is Verdict.BIT_EQUAL
    assert (comparison.differences, comparison.because) == ((), ())
    assert {path: path.read_bytes() for path in trained.root.rglob("*") if path.is_file()} == before


def test_the_choice_is_random_and_repeatable(trained: ResultsDir) -> None:
    record = records_of(trained)[0]
    many = [changed(record, trial_id=f"{number:016x}") for number in range(50)]
    first = [r.trial_id for r in pick_trials(many, 3, 0, "tiny")]
    assert first == [r.trial_id for r in pick_trials(many[::-1], 3, 0, "tiny")]
    others = {tuple(r.trial_id for r in pick_trials(many, 3, seed, "tiny")) for seed in range(20)}
    assert len(others) > 15
    assert len({trial_id for chosen in others for trial_id in chosen}) > 25
    assert len(pick_trials(many, 90, 0, "tiny")) == 50


def copy_of(trained: ResultsDir, folder: Path) -> ResultsDir:
    return ResultsDir(shutil.copytree(trained.root, folder))


def test_what_differs_is_named(trained: ResultsDir, tmp_path: Path) -> None:
    copy = copy_of(trained, tmp_path / "copy")
    record = records_of(trained)[0]
    folder, other = trained.trial(record.trial_id), copy.trial(record.trial_id)
    rows = [durable.unseal_line(line) for line in other.metrics_file.read_text().splitlines()]
    rows[1]["train_loss"] += 1.0
    other.metrics_file.write_text("".join(durable.seal_line(row) + "\n" for row in rows))
    bits = read_is_correct(other)
    assert bits is not None
    bits[:3] ^= True
    np.savez_compressed(other.predictions_file, is_correct=np.packbits(bits), num_images=len(bits))
    durable.write_sealed_json(
        other.record_file, dataclasses.asdict(changed(record, weights_sha256="f" * 64, test_loss=9.0))
    )
    comparison = compare_trial(record, folder, other, tolerance=1.0)
    assert comparison.verdict is Verdict.DIFFERENT, "same code, same device: a tolerance says nothing"
    text = "\n".join(comparison.differences)
    assert f"test_loss: {record.test_loss}, now 9.0" in text
    assert "metrics: 1 of 2 epochs differ, the first is epoch 2: train_loss" in text
    assert "predictions: 3 of 359 test images are judged otherwise" in text
    assert "weights: sha256" in text
    other.metrics_file.write_text("torn\n")
    assert "metrics.jsonl:1 is damaged" in "\n".join(compare_trial(record, folder, other, tolerance=1.0).differences)


@pytest.mark.parametrize(
    ("origin", "cause"),
    [
        ({"device": "NVIDIA H100"}, "device NVIDIA H100 -> cpu"),
        ({"code_fingerprint": "0" * 16}, "the sources of models/ or training/ changed"),
        ({"versions": {"torch": "1.0"}, "code_fingerprint": "0" * 16}, "torch 1.0 -> "),
        ({"versions": {}}, "numpy unknown -> "),
    ],
)
def test_elsewhere_accuracies_are_held_to_the_tolerance(
    trained: ResultsDir, tmp_path: Path, origin: dict, cause: str
) -> None:
    copy = copy_of(trained, tmp_path / "copy")
    now = records_of(trained)[0]
    folder, other = trained.trial(now.trial_id), copy.trial(now.trial_id)
    before = changed(now, test_acc=now.test_acc + 0.015, weights_sha256="0" * 64, **origin)
    near = compare_trial(before, folder, other, tolerance=0.02)
    assert near.verdict is Verdict.WITHIN_TOLERANCE
    assert any(text.startswith(cause) for text in near.because)
    assert near.differences
    assert compare_trial(before, folder, other, tolerance=0.01).verdict is Verdict.DIFFERENT
    counted = changed(before, num_params=before.num_params + 1)
    assert compare_trial(counted, folder, other, tolerance=1.0).verdict is Verdict.DIFFERENT


def test_a_gpu_may_round_otherwise_from_run_to_run(trained: ResultsDir) -> None:
    record = records_of(trained)[0]
    on_gpu = changed(record, device="NVIDIA H100")
    assert rounding_causes(on_gpu, on_gpu)
    assert rounding_causes(record, record) == ()


def test_a_trial_that_was_not_trained_as_asked_may_round_otherwise(trained: ResultsDir) -> None:
    record = records_of(trained)[0]
    halved = changed(record, deviations=("32 images at a time instead of 64",))
    (cause,) = rounding_causes(halved, record)
    assert cause == "it was first trained otherwise than asked: 32 images at a time instead of 64"
    assert rounding_causes(record, halved) != ()
    assert rounding_causes(changed(record, num_packed=3), record) == ("seeds trained in one pass: 3 -> 1",)


def test_a_trial_that_cannot_be_trained_again_differs(trained: ResultsDir, tmp_path: Path) -> None:
    record = records_of(trained)[0]
    empty = ResultsDir(tmp_path / "empty").trial(record.trial_id)
    comparison = compare_trial(record, trained.trial(record.trial_id), empty, tolerance=1.0)
    assert comparison.verdict is Verdict.DIFFERENT
    assert "could not be trained again" in comparison.differences[0]


def test_other_data_other_protocol_and_another_source_are_refused_before_anything_is_trained(
    trained: ResultsDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = ResultsDir(tmp_path / "scratch")
    record = records_of(trained)[0]
    with pytest.raises(DataError, match="is not what trial"):
        again(changed(record, data_fingerprint="other"), trained, scratch)
    with pytest.raises(NotReadyError, match=f"protocol {PROTOCOL + 1}.*commit abc"):
        again(changed(record, trial={**record.trial, "protocol": PROTOCOL + 1}, git_commit="abc"), trained, scratch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("class Mine: pass\n")
    model = {**record.trial["model"], "attention": "mine:Mine", "attention_source": "0" * 64}
    with pytest.raises(NotReadyError, match="another source of mine:Mine"):
        again(changed(record, trial={**record.trial, "model": model}), trained, scratch)
    assert not (scratch.root / "trials").exists()


def test_records_of_other_code_are_told(trained: ResultsDir) -> None:
    first, second = records_of(trained)
    assert other_code([first, changed(second, code_fingerprint="old")])[0].trial_id == second.trial_id
