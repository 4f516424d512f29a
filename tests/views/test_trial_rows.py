"""Rows from files: what a started, failed, diverged or damaged trial still tells."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator import lease
from orchestrator.record import Attempt
from orchestrator.views.faults import find_fault_caveats
from orchestrator.views.table import EPOCH_TYPES, read_epochs, read_table
from tests.views.sweep_builder import build_sweep, diverged

AXES: dict[str, Any] = {"depth": [12, 24], "attention": ["self", "reattention"]}


def test_a_started_trial_tells_how_far_it_is(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.begin(sweep.trials[0])
    sweep.train(sweep.trials[0], [0.3, 0.5])
    folder = sweep.results.trial(sweep.trials[0].trial_id)
    held = lease.create(folder.attempts, 2, "trial", partial(Attempt, device="d", code_fingerprint="f", versions={}))
    row = read_table(tmp_path, "depth_sweep").iloc[0]
    assert held is not None
    held.end("STOPPED")
    assert (row["state"], row["num_epochs"], row["num_attempts"], row["embed_dim"]) == ("RUNNING", 2, 2, 48)
    assert pd.isna(row["val_acc"])


def test_a_failed_trial_tells_the_error_of_its_last_failed_attempt(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    trial = sweep.trials[0]
    sweep.begin(trial)
    sweep.end_attempt(trial, 1, "FAIL", "disk full")
    sweep.end_attempt(trial, 2, "FAIL", "out of memory")
    row = read_table(tmp_path, "depth_sweep").iloc[0]
    assert (row["state"], row["error"], row["num_attempts"]) == ("FAIL", "out of memory", 2)


def test_a_failed_trial_tells_the_kind_for_the_report(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    folder = sweep.results.trial(sweep.trials[0].trial_id)
    held = lease.create(folder.attempts, 1, "trial", partial(Attempt, device="d", code_fingerprint="f", versions={}))
    assert held is not None
    held.end("FAIL", error="its worker died", failure="host_out_of_memory")
    table = read_table(tmp_path, "depth_sweep")
    assert table.iloc[0]["failure"] == "host_out_of_memory"
    (told,) = find_fault_caveats(table, read_epochs(tmp_path, "depth_sweep"))
    assert "by kind: 1 host out of memory (give a trial more resources.cpus" in told


def test_a_diverged_trial_has_a_reason_and_no_accuracy(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.finish(sweep.trials[0], diverged(sweep.trials[0]))
    row = read_table(tmp_path, "depth_sweep").iloc[0]
    assert (row["state"], row["diverged"]) == ("DIVERGED", "the training loss became nan in epoch 2 at step 7")
    assert pd.isna(row["test_acc"])
    assert pd.isna(row["num_test_images"])


def test_a_record_cut_short_is_work_to_do_with_a_notice_that_names_it(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.finish(sweep.trials[0])
    file = sweep.results.trial(sweep.trials[0].trial_id).record_file
    file.write_bytes(file.read_bytes()[:100])
    table = read_table(tmp_path, "depth_sweep")
    assert table["state"].iloc[0] == "WAITING"
    (notice,) = table.attrs["notices"]
    assert notice.startswith(f"trials/{sweep.trials[0].trial_id}/record.json is damaged")


def test_an_epoch_trained_again_counts_as_it_ended(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    trial = sweep.trials[0]
    sweep.train(trial, [0.3, 0.5])
    sweep.train(trial, [0.4])
    epochs = read_epochs(tmp_path, "depth_sweep")
    assert set(epochs.columns) == set(EPOCH_TYPES)
    assert list(zip(epochs["epoch"], epochs["val_acc"], strict=True)) == [(1, 0.4), (2, 0.5)]


@pytest.mark.parametrize("content", [b'{"epoch": 1}\n', b"\xff\xfe\x00\n"], ids=["incomplete", "binary"])
def test_damaged_metrics_are_left_out_with_a_notice(tmp_path: Path, content: bytes) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.begin(sweep.trials[0])
    sweep.results.trial(sweep.trials[0].trial_id).metrics_file.write_bytes(content)
    epochs = read_epochs(tmp_path, "depth_sweep")
    assert epochs.empty
    assert "metrics.jsonl:1 is damaged" in epochs.attrs["notices"][0]


def test_a_seed_that_never_started_has_the_model_of_its_cell_mates(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.finish(sweep.trials[0])
    table = read_table(tmp_path, "depth_sweep")
    assert list(table["embed_dim"].iloc[:3]) == [48, 48, 48]
    assert table["embed_dim"].iloc[3:].isna().all()


def test_a_damaged_description_is_a_notice(tmp_path: Path) -> None:
    sweep = build_sweep(tmp_path, AXES)
    sweep.begin(sweep.trials[0])
    sweep.results.trial(sweep.trials[0].trial_id).trial_file.write_text('["no trial"]')
    table = read_table(tmp_path, "depth_sweep")
    assert table["num_attempts"].iloc[0] == 1
    assert table.attrs["notices"] == [f"trials/{sweep.trials[0].trial_id}/trial.json is damaged: it describes no trial"]
