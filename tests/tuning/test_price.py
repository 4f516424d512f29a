"""price.py, and what plan.py makes of it: packs are priced by packs, and what was never measured has no price."""

from __future__ import annotations

import dataclasses
import json

import pytest

from orchestrator import cost, durable, provenance
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import Attempt, EpochMetrics, State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.forecast import TimesByDevice, forecast
from orchestrator.tuning.plan import SweepPlan, build_plan
from orchestrator.tuning.price import Price, Prices
from orchestrator.tuning.timing import ExpectedTime
from tests.tuning.searches import TEXT as SEARCHED
from tests.tuning.searches import tuned
from tests.tuning.sweeps import TEXT, spec_and_grid, write_record
from tests.tuning.test_executors import settings_for

PACKED = TEXT.replace("seeds: 2", "seeds: 5").replace("tracking:", "resources: {pack: 3}\ntracking:")


def plan(results: ResultsDir, text: str = PACKED, executor: str = "ray_tune") -> SweepPlan:
    spec, grid = spec_and_grid(text)
    return build_plan(spec, grid, results, executor)


def train_epochs(results: ResultsDir, trial: Trial, *epochs: tuple[int, float]) -> None:
    """Leave a trial that has begun, with the seeds and the seconds of each epoch."""
    folder = results.trial(trial.trial_id)
    attempt = Attempt(
        number=1, host="h", process=1, device=f"cpu: {provenance.cpu_name()}", code_fingerprint="f", versions={},
        started_at="t",
    )  # fmt: skip
    durable.write_json(folder.trial_file, trial.canonical())
    durable.write_sealed_json(folder.attempt_file(1), dataclasses.asdict(attempt))
    for number, (num_packed, seconds) in enumerate(epochs, start=1):
        row = EpochMetrics(
            epoch=number, train_loss=1.0, val_loss=1.0, val_acc=0.5, lr=0.1, wall_time_s=seconds, num_packed=num_packed
        )
        durable.append_line(folder.metrics_file, json.dumps(dataclasses.asdict(row)))


def test_a_plan_tells_the_packs_that_a_run_would_make(results: ResultsDir) -> None:
    for cell in plan(results).cells:
        trial = next(t for t in spec_and_grid(PACKED)[1].trials if t.cell_id == cell.cell_id)
        assert cell.num_packed == 3  # five seeds are a pack of two and one of three
        assert cell.memory_mib == pytest.approx(3 * cost.memory_mib(trial))
    assert {cell.num_packed for cell in plan(results, TEXT).cells} == {1}
    assert {cell.num_packed for cell in plan(results, PACKED.replace("pack: 3", "pack: 8")).cells} == {5}


def test_finished_seeds_leave_smaller_packs(results: ResultsDir) -> None:
    _, grid = spec_and_grid(PACKED)
    for trial in grid.cells[0].trials[:3]:
        write_record(results, trial)
    for trial in grid.cells[1].trials:
        write_record(results, trial)
    packed = [cell.num_packed for cell in plan(results).cells]
    assert packed == [2, 1, 3, 3]


def test_a_pack_is_priced_by_packs_as_large_and_never_by_a_seed_alone(results: ResultsDir) -> None:
    _, grid = spec_and_grid(PACKED)
    first = grid.cells[0].trials
    write_record(results, first[0], train_time_s=10.0, num_epochs=2)
    write_record(results, first[1], train_time_s=10.0, num_epochs=2)
    (cell, *_) = plan(results).cells
    assert (cell.num_packed, cell.trial_time_s, cell.remaining_time_s) == (3, None, None)
    train_epochs(results, first[2], (3, 12.0), (3, 14.0), (2, 99.0), (1, 1.0))
    found = plan(results)
    cell = found.cells[0]
    assert cell.trial_time_s == pytest.approx(2 * 13.0)
    assert cell.remaining_time_s == pytest.approx(2 * 13.0)  # three seeds to run are one pack
    assert found.cells[1].remaining_time_s is None  # another attention
    assert (found.remaining_time_s, found.gpu_hours) == (None, 0.0)
    assert (found.known_time_s, found.num_cells_unknown) == (pytest.approx(26.0 + 2 * 52.0), 2)
    assert provenance.cpu_name() in found.device


def test_what_a_finished_trial_took_in_its_packs_is_read_from_its_epochs(results: ResultsDir) -> None:
    _, grid = spec_and_grid(PACKED)
    trial = grid.cells[0].trials[0]
    train_epochs(results, trial, (3, 12.0), (1, 4.0))
    for state, expected in ((State.DIVERGED, None), (State.COMPLETE, 12.0)):
        record = write_record(results, trial, num_packed=3, train_time_s=16.0, state=state)
        for known in ({}, {trial.trial_id: record}):
            times = TimesByDevice(results, known)
            assert times.of(Resources(), 3).epoch_s(trial) == expected
            assert times.of(Resources(), 2).epoch_s(trial) is None
            assert times.of(Resources()).epoch_s(trial) is None


def test_packs_are_counted_whole_and_nothing_to_run_takes_no_time(results: ResultsDir) -> None:
    trial = spec_and_grid(PACKED)[1].trials[0]
    train_epochs(results, trial, (3, 10.0), (2, 8.0))
    prices = Prices(TimesByDevice(results, {}), "serial")
    pack = Resources(pack=3)
    assert prices.of(trial, 5, pack) == Price(3, 20.0, 40.0)
    assert prices.of(trial, 6, pack, num_seeds=2) == Price(2, 16.0, 48.0)
    assert prices.of(trial, 4, Resources(pack=4)) == Price(4, None, None)
    rough = prices.of(trial, 0, pack)
    assert (rough.num_packed, rough.remaining_s, rough.is_rough) == (1, 0.0, True)
    assert (Price(3, 20.0, 7200.0).gpu_hours(0.5), Price(3, None, None).gpu_hours(1.0)) == (1.0, None)


def test_more_seeds_of_a_rule_are_unknown_where_they_would_be_packed(results: ResultsDir) -> None:
    text = TEXT.replace("seeds: 2", "seeds: {min: 2, max: 5, until: {ci_half_width: 0.01}}")
    for cell in spec_and_grid(text)[1].cells:
        for trial in cell.trials:
            write_record(results, trial, train_time_s=10.0, num_epochs=2)
    packed = plan(results, text.replace("tracking:", "resources: {pack: 3}\ntracking:"))
    assert (packed.remaining_time_s, packed.remaining_time_at_most_s) == (0.0, None)
    assert plan(results, text).remaining_time_at_most_s == pytest.approx(4 * 3 * 10.0)


def test_seeds_of_a_search_go_together_too(results: ResultsDir) -> None:
    text = SEARCHED.replace("num_trials: 6", "num_trials: 6\n  seeds: 2")
    spec, grid, _ = tuned(text.replace("tracking:", "resources: {pack: 3}\ntracking:"))
    for cell in build_plan(spec, grid, results).cells:
        assert cell.search is not None
        assert (cell.num_packed, cell.search.num_packed, cell.search.num_to_run) == (2, 2, 12)


def test_why_seeds_stay_alone_is_told_once_a_reason(results: ResultsDir) -> None:
    text = PACKED.replace("lr: 2.0e-3", "lr: 2.0e-3, optimizer: lamb")
    found = plan(results, text)
    assert {cell.num_packed for cell in found.cells} == {1}
    told = [warning for warning in found.warnings if "a seed at a time" in warning]
    assert [text.partition(": ")[0] for text in told] == [
        "4 of 4 cells are trained a seed at a time, though they ask for packs"
    ]
    assert plan(results).warnings == plan(results, TEXT).warnings


def test_nothing_is_expected_of_what_will_be_packed(results: ResultsDir) -> None:
    _, grid = spec_and_grid(PACKED)
    trials = grid.cells[0].trials
    record = write_record(results, trials[0], train_time_s=10.0, num_epochs=2)
    settings = settings_for(results, trials, "serial", resources=Resources(pack=3))
    assert forecast(trials[1:], [record], settings) == {}
    assert forecast(trials[4:], [record], settings) == {trials[4].trial_id: ExpectedTime(pytest.approx(10.0))}
