"""The run of a trial follows from its files, and says no more than they do."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from orchestrator import durable
from orchestrator.errors import ResultsError
from orchestrator.record import State
from orchestrator.redact import REDACTED
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.trial import Trial
from orchestrator.tuning.run_content import RunContent, trial_content
from tests.tuning.sweep_files import (
    START_MS,
    diverge_trial,
    finish_trial,
    make_trial,
    member_of,
    start_trial,
)


def content_of(results: ResultsDir, trial: Trial, *, is_running: bool = False) -> RunContent:
    folder = results.trial(trial.trial_id)
    content = trial_content(folder, member_of(trial, depth=2), folder.read_record(), is_running=is_running)
    assert content is not None
    return content


def values(content: RunContent) -> dict[tuple[str, int], float]:
    return {(point.key, point.step): point.value for point in content.points}


def test_a_trial_that_never_started_has_no_run(results: ResultsDir) -> None:
    trial = make_trial()
    assert trial_content(results.trial(trial.trial_id), member_of(trial), None, is_running=True) is None


def test_each_epoch_and_each_final_number_is_one_point(results: ResultsDir) -> None:
    trial = make_trial()
    record = finish_trial(results, trial, 0.5)
    points = values(content_of(results, trial))
    assert points["train_loss", 1], points["train_loss", 2] == (2.0, 1.0)
    assert points["val_acc", 2] == 0.2
    assert points["final/test_acc", 2] == record.test_acc
    assert points["cost/num_params", 2] == record.num_params
    assert len(content_of(results, trial).points) == 2 * 3 + 4 + 5


def test_seeds_that_were_trained_together_are_tagged_while_they_train_and_after(results: ResultsDir) -> None:
    trial, alone = make_trial(), make_trial(depth=4)
    start_trial(results, alone, 1)
    assert content_of(results, alone).tags["num_packed"] == "1"
    start_trial(results, trial, 2)
    folder = results.trial(trial.trial_id)
    rows = [replace(row, num_packed=num_packed) for row, num_packed in zip(folder.read_metrics(), (3, 2), strict=True)]
    durable.write_text(folder.metrics_file, "".join(json.dumps(asdict(row)) + "\n" for row in rows))
    assert content_of(results, trial, is_running=True).tags["num_packed"] == "3"
    record = finish_trial(results, trial, 0.5)
    assert content_of(results, trial).tags["num_packed"] == "1"
    durable.write_sealed_json(folder.record_file, asdict(replace(record, num_packed=2)))
    assert content_of(results, trial).tags["num_packed"] == "2"


def test_a_value_that_was_not_measured_is_absent(results: ResultsDir) -> None:
    trial = make_trial()
    diverge_trial(results, trial)
    keys = {point.key for point in content_of(results, trial).points}
    assert not keys & {"val_loss", "final/val_acc", "final/test_acc"}


def test_times_follow_from_the_files(results: ResultsDir) -> None:
    trial = make_trial()
    finish_trial(results, trial)
    content = content_of(results, trial)
    times = [point.timestamp_ms for point in content.points if point.key == "train_loss"]
    assert (content.start_ms, content.end_ms, times) == (
        START_MS,
        START_MS + 60_000,
        [START_MS + 1500, START_MS + 3000],
    )


def test_params_are_the_hashed_fields_flat_with_dots(results: ResultsDir) -> None:
    trial = make_trial(depth=4, lr=3e-4)
    finish_trial(results, trial)
    params = content_of(results, trial).params
    assert (params["model.depth"], params["train.lr"], params["seed"]) == ("4", "0.0003", "0")
    assert len(params) == sum(len(v) if isinstance(v, dict) else 1 for v in trial.canonical().values())


@pytest.mark.parametrize(
    ("outcome", "is_running", "status", "state"),
    [
        (None, True, "RUNNING", State.RUNNING),
        (None, False, "KILLED", State.WAITING),
        ("STOPPED", False, "KILLED", State.WAITING),
        ("FAIL", False, "FAILED", State.FAIL),
    ],
)
def test_an_unfinished_trial_shows_how_it_stands(
    results: ResultsDir, outcome: str | None, is_running: bool, status: str, state: State
) -> None:
    trial = make_trial()
    start_trial(results, trial, 1, outcome=outcome)
    content = content_of(results, trial, is_running=is_running)
    assert (content.status, content.tags["state"], content.is_growing) == (status, state, True)
    assert (content.end_ms is None) == is_running


def test_finished_and_diverged_trials_show_it_whoever_asks(results: ResultsDir) -> None:
    done, diverged = make_trial(seed=0), make_trial(seed=1)
    finish_trial(results, done)
    diverge_trial(results, diverged)
    assert content_of(results, done, is_running=True).status == "FINISHED"
    assert content_of(results, diverged).status == "FAILED"
    assert "nan" in content_of(results, diverged).tags["diverged"]


def test_infinity_and_nan_become_a_tag_and_no_point(results: ResultsDir) -> None:
    trial = make_trial()
    start_trial(results, trial, 1)
    rows = results.trial(trial.trial_id).metrics_file
    row = json.loads(rows.read_text())
    durable.append_line(rows, json.dumps({**row, "epoch": 2, "train_loss": math.inf, "val_acc": math.nan}))
    content = content_of(results, trial)
    assert ("train_loss", 2) not in values(content)
    assert content.tags["not_finite/train_loss"] == "inf at step 2"
    assert content.tags["not_finite/val_acc"] == "nan at step 2"


def test_secrets_are_hidden_before_anything_is_written(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = make_trial()
    start_trial(results, trial, outcome="FAIL", error="GET https://me:pw@host/x?token=abc failed")
    asked = {**trial.canonical(), "data": {"api_key": "abc", "id": "s3://me:pw@b"}}
    monkeypatch.setattr(TrialFolder, "read_trial", lambda folder: asked)
    content = content_of(results, trial)
    assert content.params["data.api_key"] == REDACTED
    assert "abc" not in str(content)
    assert "pw" not in str(content)


def test_the_name_tells_trials_of_a_further_axis_apart(results: ResultsDir) -> None:
    trial = make_trial(lr=1e-3)
    finish_trial(results, trial)
    folder = results.trial(trial.trial_id)
    member = member_of(trial, **{"depth": 2, "train.lr": 1e-3, "reattention_last": None})
    content = trial_content(folder, member, folder.read_record(), is_running=False)
    assert content is not None
    assert content.name == "d2-self-w16-s0 lr 0.001"


def test_the_digest_is_equal_for_equal_content_only(results: ResultsDir, tmp_path: Path) -> None:
    trial, other = make_trial(), ResultsDir(tmp_path / "elsewhere")
    finish_trial(results, trial)
    finish_trial(other, trial)
    content = content_of(results, trial)
    assert content.digest == content_of(other, trial).digest
    assert content.digest != replace(content, points=content.points[1:]).digest


def test_a_damaged_row_is_an_error_that_names_the_file(results: ResultsDir) -> None:
    trial = make_trial()
    finish_trial(results, trial)
    results.trial(trial.trial_id).metrics_file.write_text("not a row\n")
    with pytest.raises(ResultsError, match=r"metrics\.jsonl:1"):
        content_of(results, trial)
