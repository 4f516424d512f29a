"""views/faults.py: what a report says of failures, deviations and spikes."""

from __future__ import annotations

import pandas as pd

from orchestrator.views.faults import find_fault_caveats
from orchestrator.views.table import summarize_cells
from tests.views.sweep_builder import make_table

NO_EPOCHS = pd.DataFrame({"trial_id": [], "epoch": [], "train_loss": []})


def epochs_of(trial_id: str, losses: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"trial_id": trial_id, "epoch": range(1, len(losses) + 1), "train_loss": losses})


def test_without_faults_nothing_is_said() -> None:
    assert find_fault_caveats(make_table([{}]), epochs_of("t0", [2.0, 1.5, 1.2, 1.1, 1.0])) == []


def test_failures_are_told_by_kind_with_what_to_do() -> None:
    rows = [{"state": "FAIL", "failure": "out_of_memory"}, {"state": "FAIL", "failure": "out_of_memory"}]
    (told,) = find_fault_caveats(make_table([{}, *rows, {"state": "FAIL"}]), NO_EPOCHS)
    assert told.startswith("3 trials have failed and stand in no mean, by kind: 2 out of memory (set train.micro_batch")
    assert told.endswith("; 1 unknown.")


def test_a_cell_with_trials_that_were_not_trained_as_asked_is_marked() -> None:
    rows = [{"deviations": "micro-batch 8 in place of 64"}, {"seed": 1}, {"seed": 2, "depth": 24}]
    table = make_table(rows)
    (told,) = find_fault_caveats(table, NO_EPOCHS)
    assert "not trained as asked: \u201cdepth 12, self\u201d (1 trials: micro-batch 8 in place of 64)." in told
    assert summarize_cells(table)["num_deviating"].tolist() == [1, 0]


def test_a_spike_is_told_with_its_epoch() -> None:
    (told,) = find_fault_caveats(make_table([{}]), epochs_of("t0", [2.0, 1.5, 1.2, 4.0, 1.1]))
    assert "The training loss of 1 trial jumped" in told
    assert "\u201cdepth 12, self, seed 0\u201d (epoch 4)" in told
