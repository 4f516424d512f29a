from __future__ import annotations

import dataclasses
import json

import pytest

from orchestrator import cost, durable, provenance
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import Attempt, EpochMetrics, State
from orchestrator.results import ResultsDir
from orchestrator.tuning.cold_times import ColdTimes
from orchestrator.tuning.forecast import TimesByDevice
from orchestrator.tuning.plan import build_plan
from tests.tuning.sweeps import TEXT, spec_and_grid, write_record

ON_GPU = TEXT.replace("tracking:", "resources: {gpus: 1}\ntracking:")


def test_nothing_measured_leaves_every_time_of_a_gpu_unknown(results: ResultsDir) -> None:
    plan = build_plan(*spec_and_grid(ON_GPU), results)
    assert (plan.num_trials, plan.num_finished, plan.num_to_run) == (8, 0, 8)
    assert (plan.remaining_time_s, plan.gpu_hours, plan.is_time_rough) == (None, None, False)
    assert {(cell.standing, cell.trial_time_s) for cell in plan.cells} == {("new", None)}
    assert not results.root.exists()


def test_nothing_measured_leaves_rough_times_of_this_processor(results: ResultsDir) -> None:
    spec, grid = spec_and_grid()
    plan = build_plan(spec, grid, results)
    assert plan.is_time_rough
    assert plan.remaining_time_s == pytest.approx(sum(2 * (cell.trial_time_s or 0.0) for cell in plan.cells))
    for cell, planned in zip(grid.cells, plan.cells, strict=True):
        assert planned.is_time_rough
        assert planned.trial_time_s == ColdTimes().trial_s(cell.trials[0])
    assert not results.root.exists()


def test_sizes_are_those_of_the_closed_forms(results: ResultsDir) -> None:
    spec, grid = spec_and_grid()
    for cell, priced in zip(grid.cells, build_plan(spec, grid, results).cells, strict=True):
        assert priced.num_params == cost.num_params(cell.trials[0])
        assert priced.flops == cost.flops(cell.trials[0])
        assert priced.memory_mib == cost.memory_mib(cell.trials[0])


def test_finished_trials_price_the_others(results: ResultsDir) -> None:
    spec, grid = spec_and_grid()
    by_axes = {(t.model.depth, t.model.attention, t.seed): t for t in grid.trials}
    write_record(results, by_axes[2, "self", 0], train_time_s=10.0, num_epochs=2)
    cells = {(c.axes["depth"], c.axes["attention"]): c for c in build_plan(spec, grid, results).cells}
    assert cells[2, "self"].standing == "partly done"
    assert cells[2, "self"].trial_time_s == pytest.approx(10.0)
    assert cells[2, "self"].remaining_time_s == pytest.approx(10.0)
    assert cells[1, "self"].remaining_time_s == pytest.approx(2 * 5.0)
    assert [cells[key].is_time_rough for key in ((2, "self"), (1, "self"), (1, "reattention"))] == [False, False, True]


def test_a_rule_for_seeds_is_priced_at_most_and_earlier_rounds_count(results: ResultsDir) -> None:
    text = ON_GPU.replace("seeds: 2", "seeds: {min: 2, max: 5, until: {ci_half_width: 0.01}}")
    spec, grid = spec_and_grid(text)
    unknown = build_plan(spec, grid, results)
    assert (unknown.num_trials, unknown.num_trials_at_most, unknown.remaining_time_at_most_s) == (8, 20, None)
    for cell in grid.cells:
        for trial in cell.trials:
            write_record(results, trial, train_time_s=10.0, num_epochs=2, device="NVIDIA H200")
    write_record(results, grid.cells[0].trial(2), train_time_s=10.0, num_epochs=2, device="NVIDIA H200")
    plan = build_plan(spec, grid, results)
    assert (plan.num_trials, plan.num_finished, plan.num_to_run, plan.num_trials_at_most) == (9, 9, 0, 20)
    assert (plan.remaining_time_s, plan.remaining_time_at_most_s) == (0.0, pytest.approx(11 * 10.0))


def test_other_devices_and_diverged_trials_price_nothing(results: ResultsDir) -> None:
    _, grid = spec_and_grid()
    first, second, *_ = grid.trials
    write_record(results, first, device="NVIDIA H200")
    write_record(results, second, state=State.DIVERGED, test_acc=None)
    times = TimesByDevice(results, {})
    assert times.of(Resources()).epoch_s(first) is None
    assert times.of(Resources(gpus=1.0)).epoch_s(first) == pytest.approx(1.0)
    assert times.describe() == "NVIDIA H200"


def test_a_trial_that_has_begun_tells_the_time_too(results: ResultsDir) -> None:
    _, grid = spec_and_grid()
    folder = results.trial(grid.trials[0].trial_id)
    row = EpochMetrics(epoch=1, train_loss=1.0, val_loss=1.0, val_acc=0.5, lr=0.1, wall_time_s=4.0)
    attempt = Attempt(
        number=1, host="h", process=1, device=f"cpu: {provenance.cpu_name()}", code_fingerprint="f", versions={},
        started_at="t",
    )  # fmt: skip
    durable.write_json(folder.trial_file, grid.trials[0].canonical())
    durable.append_line(folder.metrics_file, json.dumps(dataclasses.asdict(row)))
    durable.write_sealed_json(folder.attempt_file(1), dataclasses.asdict(attempt))
    assert TimesByDevice(results, {}).of(Resources()).epoch_s(grid.trials[0]) == pytest.approx(4.0)


def test_a_finished_sweep_has_nothing_left_to_pay(results: ResultsDir) -> None:
    spec, grid = spec_and_grid(ON_GPU)
    for trial in grid.trials:
        write_record(results, trial)
    plan = build_plan(spec, grid, results)
    assert {cell.standing for cell in plan.cells} == {"done"}
    assert (plan.num_to_run, plan.remaining_time_s, plan.gpu_hours) == (0, 0.0, 0.0)
    assert (plan.is_time_rough, plan.known_time_s, plan.num_cells_unknown) == (False, 0.0, 0)


def test_a_cell_is_priced_on_the_device_that_its_resources_name(results: ResultsDir) -> None:
    rule = "resources: {overrides: [{when: {depth: 2}, gpus: 0.5}]}\ntracking:"
    spec, grid = spec_and_grid(TEXT.replace("tracking:", rule))
    by_axes = {(t.model.depth, t.model.attention, t.seed): t for t in grid.trials}
    write_record(results, by_axes[1, "self", 0], train_time_s=10.0, num_epochs=2)
    write_record(results, by_axes[2, "self", 0], train_time_s=7200.0, num_epochs=2, device="NVIDIA H200")
    plan = build_plan(spec, grid, results)
    cells = {(c.axes["depth"], c.axes["attention"]): c for c in plan.cells}
    assert (cells[1, "self"].trial_time_s, cells[1, "self"].gpu_hours) == (10.0, 0.0)
    assert (cells[2, "self"].trial_time_s, cells[2, "self"].gpu_hours) == (7200.0, 1.0)
    assert "NVIDIA H200" in plan.device
    assert provenance.cpu_name() in plan.device
