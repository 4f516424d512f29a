from __future__ import annotations

import dataclasses

import pytest

from orchestrator import durable
from orchestrator.record import Attempt, State
from orchestrator.results import ResultsDir
from orchestrator.tuning.survey import build_index, notices, survey
from tests.tuning.sweeps import TEXT, spec_and_grid, write_record


def test_an_empty_root_makes_every_trial_new(results: ResultsDir) -> None:
    _, grid = spec_and_grid()
    standings = survey(grid, results, "tiny")
    assert [standing.trial for standing in standings] == list(grid.trials)
    assert {(standing.state, standing.note) for standing in standings} == {(State.WAITING, "new")}


def test_each_trial_is_seen_as_its_files_say(results: ResultsDir) -> None:
    _, grid = spec_and_grid()
    done, other, diverged, failed, cut, interrupted, *new = grid.trials
    write_record(results, done)
    write_record(results, other, code_fingerprint="other", versions={"torch": "1.0", "timm": "0.1"})
    write_record(results, diverged, state=State.DIVERGED, test_acc=None, diverged="the loss became inf")
    attempt = Attempt(number=1, host="h", process=1, device="cpu: x", code_fingerprint="f", versions={}, started_at="t")
    for trial, outcome in ((failed, "FAIL"), (interrupted, None)):
        content = dataclasses.replace(attempt, outcome=outcome, error="no memory" if outcome else None)
        durable.write_sealed_json(results.trial(trial.trial_id).attempt_file(1), dataclasses.asdict(content))
    write_record(results, cut)
    path = results.trial(cut.trial_id).record_file
    path.write_bytes(path.read_bytes()[:40])
    found = {standing.trial: standing for standing in survey(grid, results, "tiny")}
    assert (found[done].state, found[done].note, found[done].is_other_code) == (State.COMPLETE, "", False)
    assert found[other].is_other_code
    assert "torch 1.0 -> " in found[other].note
    assert found[diverged].is_finished
    assert (found[failed].state, found[failed].note) == (State.FAIL, "failed: no memory")
    assert (found[cut].state, found[cut].record) == (State.WAITING, None)
    assert "is damaged" in found[cut].note
    assert found[interrupted].note == "interrupted after 0 epochs"
    assert {found[trial].note for trial in new} == {"new"}
    told = notices(tuple(found.values()))
    assert len(told) == 2
    assert "record.json is damaged" in told[0]
    assert "1 of 8 trials were done by other code" in told[1]


def test_what_changed_since_the_last_run_is_named_field_by_field(results: ResultsDir) -> None:
    spec, grid = spec_and_grid()
    index = build_index(spec, grid)
    durable.write_sealed_json(results.sweep("tiny").trials_file, dataclasses.asdict(index))
    for trial in grid.trials:
        durable.write_json(results.trial(trial.trial_id).trial_file, trial.canonical())
    _, changed = spec_and_grid(TEXT.replace("epochs: 2", "epochs: 3").replace("{embed", "{init_values: 0.1, embed"))
    notes = {standing.note for standing in survey(changed, results, "tiny")}
    assert notes == {"changed: train.epochs 2 -> 3, model.init_values unset -> 0.1"}


def test_an_index_names_every_trial_with_its_axes() -> None:
    spec, grid = spec_and_grid()
    index = build_index(spec, grid)
    assert index.axes == ("depth", "attention")
    assert [member.trial_id for member in index.members] == [trial.trial_id for trial in grid.trials]
    assert index.members[0].axes == {"depth": 1, "attention": "self"}
    assert len({member.cell_id for member in index.members}) == 4


@pytest.mark.parametrize("content", ["", "{", '{"schema": 1}'])
def test_a_damaged_index_of_the_last_run_is_no_obstacle(results: ResultsDir, content: str) -> None:
    _, grid = spec_and_grid()
    durable.write_text(results.sweep("tiny").trials_file, content)
    assert {standing.note for standing in survey(grid, results, "tiny")} == {"new"}
