"""The benchmark of what probes cost."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.probe_cost import LIMIT, Cost, chosen_trials, make_table, measure
from orchestrator.grids.sweep_spec import Probe
from orchestrator.trial import Trial


def test_it_measures_the_demos_shallowest_and_deepest_cells() -> None:
    found = {(trial.model.depth, trial.model.attention, trial.train.epochs) for trial in chosen_trials()}
    assert found == {(depth, attention, 12) for depth in (12, 32) for attention in ("self", "reattention")}


def test_every_time_is_measured_on_a_small_trial(tiny_trial: Trial) -> None:
    few = measure(tiny_trial, Probe(images=4, skip_images=4), num_repeats=1, device="cpu")
    assert min(few.epoch_s, few.probes_s, few.skip_s) > 0
    assert few.training_s == few.epoch_s * tiny_trial.train.epochs
    assert measure(tiny_trial, Probe(images=4, skip_images=0), num_repeats=1, device="cpu").skip_s == 0.0


def test_the_table_marks_what_breaks_the_limit(tiny_trial: Trial) -> None:
    trial = replace(tiny_trial, train=replace(tiny_trial.train, epochs=10))
    table = make_table([Cost(trial, 1.0, 10 * LIMIT, 0.5), Cost(trial, 1.0, 11 * LIMIT, 0.5)])
    assert table.splitlines()[2:] == [
        "| 2 | self | 10.0 | 0.30 | 3.0 % | 0.50 |",
        "| 2 | self | 10.0 | 0.33 | 3.3 % ! | 0.50 |",
    ]
