"""evidence.py: one seed of every cell first, then more where the interval is widest; a stop costs nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import SeedRule
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning import serial
from orchestrator.tuning.events import Event, RunSettings, TrialEnded, TrialStarted
from orchestrator.tuning.evidence import in_order_of_evidence, needs, seeds_wanted
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.schedule import predicted_work
from orchestrator.tuning.stop_file import is_stop_asked
from orchestrator.tuning.survey import Standing, survey
from orchestrator.tuning.sweep import run_sweep
from tests.tuning.sweeps import TEXT, spec_and_grid, write_record

RULED = TEXT.replace("seeds: 2", "seeds: {min: 3, max: 12, until: {ci_half_width: 0.02}}")
SERIAL = RunOptions(executor="serial")
SPREADS = {("self", 1): 0.005, ("self", 2): 0.01, ("reattention", 1): 0.01, ("reattention", 2): 0.06}


def acc_of(trial: Trial) -> float:
    """What a training would score: a draw that belongs to the trial."""
    spread = SPREADS[trial.model.attention, trial.model.depth]
    return 0.8 + spread * float(np.random.default_rng(int(trial.trial_id, 16)).standard_normal())


def plain_widths(accs: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Two standard errors of the cell alone; any rule would do here."""
    return {
        cell: 2 * float(np.std(known, ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else math.inf
        for cell, known in accs.items()
    }


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    """Training takes no time: an executor that only writes records, and the trials in the order it had them."""
    trained: list[Trial] = []

    def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
        for trial in trials:
            if is_stop_asked(settings.stop_file):
                return
            trained.append(trial)
            yield TrialStarted(trial.trial_id)
            fingerprint = next(iter(settings.data_fingerprints.values()))
            results = ResultsDir(settings.results_root)
            record = write_record(results, trial, test_acc=acc_of(trial), data_fingerprint=fingerprint)
            yield TrialEnded(trial.trial_id, State.COMPLETE, record)

    monkeypatch.setattr(serial, "execute", execute)
    return trained


def num_seeds(results: ResultsDir) -> dict[str, int]:
    index = results.sweep("tiny").read_index()
    counts: dict[str, int] = {}
    for member in index.members:
        counts[member.cell_id] = counts.get(member.cell_id, 0) + 1
    return counts


def test_a_rule_gives_more_seeds_to_wide_cells_alone(results: ResultsDir, instant: list[Trial]) -> None:
    spec, grid = spec_and_grid(RULED)
    summary = run_sweep(spec, grid, results, SERIAL, half_widths=plain_widths)
    assert summary.exit_code == 0
    assert [trial.seed for trial in instant[:12]] == [0] * 4 + [1] * 4 + [2] * 4
    noisy = next(cell for cell in grid.cells if cell.trials[0].model.depth == 2 and cell.axes["attention"] != "self")
    counts = num_seeds(results)
    assert counts.pop(noisy.cell_id) == 12
    assert set(counts.values()) == {3}
    assert summary.num_trials == summary.num_finished == len(instant) == 9 + 12
    assert summary.num_wide == 1  # the noisy one, at the most seeds
    assert results.sweep("tiny").read_index().seed_rule == {"min": 3, "max": 12, "ci_half_width": 0.02}


def test_a_run_again_asks_for_nothing_and_keeps_what_was_asked(results: ResultsDir, instant: list[Trial]) -> None:
    spec, grid = spec_and_grid(RULED)
    run_sweep(spec, grid, results, SERIAL, half_widths=plain_widths)
    before, count = results.sweep("tiny").trials_file.read_bytes(), len(instant)
    again = run_sweep(spec, grid, results, SERIAL, half_widths=plain_widths)
    assert len(instant) == count == again.num_reused
    assert results.sweep("tiny").trials_file.read_bytes() == before


@pytest.mark.parametrize("num_lost", [1, 2, 5])
def test_a_run_that_lost_records_ends_with_the_same_trials(
    results: ResultsDir, instant: list[Trial], num_lost: int
) -> None:
    spec, grid = spec_and_grid(RULED)
    run_sweep(spec, grid, results, SERIAL, half_widths=plain_widths)
    expected = num_seeds(results)
    for trial in instant[-num_lost:]:
        results.trial(trial.trial_id).record_file.unlink()
    run_sweep(spec, grid, results, SERIAL, half_widths=plain_widths)
    assert num_seeds(results) == expected


def standings_of(grid: Grid, results: ResultsDir) -> list[Standing]:
    return list(survey(grid, results, "tiny"))


def test_nothing_is_asked_for_while_a_trial_waits_and_nothing_for_cells_that_only_diverge(results: ResultsDir) -> None:
    spec, grid = spec_and_grid(RULED)
    *most, last = grid.trials
    for trial in most:
        write_record(results, trial, test_acc=acc_of(trial))
    assert needs(spec, standings_of(grid, results), plain_widths) == {}
    write_record(results, last, test_acc=acc_of(last))
    assert list(needs(spec, standings_of(grid, results), plain_widths)) == [last.cell_id]
    for trial in grid.cells[-1].trials:
        write_record(results, trial, state=State.DIVERGED, test_acc=None, test_loss=None, diverged="loss is nan")
    assert needs(spec, standings_of(grid, results), plain_widths) == {}


@given(st.floats(1e-6, 10.0), st.integers(2, 50), st.integers(3, 60))
def test_what_is_wanted_never_shrinks_never_passes_the_most_and_at_most_doubles(
    width: float, count: int, most: int
) -> None:
    wanted = seeds_wanted(width, count, SeedRule(max=most, ci_half_width=0.01))
    assert count <= wanted <= max(count, min(most, 2 * count))
    assert (wanted == count) == (width <= 0.01 or count >= most)


def test_of_equal_seeds_the_widest_cell_comes_first_then_the_longest_training(results: ResultsDir) -> None:
    _, grid = spec_and_grid()
    cells = [cell.trials[0].cell_id for cell in grid.cells]
    ordered = in_order_of_evidence(standings_of(grid, results), {cells[1]: 0.5, cells[0]: 0.1})
    assert [standing.trial.cell_id for standing in ordered[:2]] == [cells[1], cells[0]]
    work = [predicted_work(standing.trial) for standing in ordered[2:4]]
    assert work == sorted(work, reverse=True)
    assert [standing.trial.seed for standing in ordered] == [0] * 4 + [1] * 4
