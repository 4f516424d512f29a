from __future__ import annotations

import dataclasses
import json
import os
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from orchestrator import durable, lease
from orchestrator.errors import LockedError
from orchestrator.processes import this_machine
from orchestrator.record import Attempt, Run, State
from orchestrator.results import FINAL, WEIGHTS, ResultsDir, TrialFolder
from orchestrator.trial import Trial
from orchestrator.tuning.retention import Category, Findings, Policy, find_garbage, free_garbage
from orchestrator.tuning.search_phase import write_snapshot
from orchestrator.tuning.survey import build_index
from tests.tuning.sweeps import TEXT, spec_and_grid, write_record

SMALL = TEXT.replace("[self, reattention]", "[self]")


@pytest.fixture
def root(results: ResultsDir) -> ResultsDir:
    """A sweep `tiny` of two cells with two seeds: three trials COMPLETE, one DIVERGED; each with files to free."""
    for number, trial in enumerate(add_sweep(results, SMALL)):
        folder = results.trial(trial.trial_id)
        state = State.DIVERGED if number == 3 else State.COMPLETE
        write_record(results, trial, state=state, val_acc=0.5 + 0.1 * number)
        add_checkpoint(folder, "1-4" if state is State.DIVERGED else FINAL)
        for attempt in (1, 2):
            add_attempt(folder, attempt, state)
    return results


def add_sweep(results: ResultsDir, text: str) -> tuple[Trial, ...]:
    spec, grid = spec_and_grid(text)
    write_snapshot(results.sweep(spec.name), spec, build_index(spec, grid))
    return grid.trials


def add_checkpoint(folder: TrialFolder, name: str) -> None:
    durable.commit_folder(folder.checkpoints / name, {WEIGHTS: b"w" * 1000})


def add_attempt(folder: TrialFolder, number: int, outcome: str | None = None) -> None:
    attempt = Attempt(
        number=number, host="h", process=1, device="cpu", code_fingerprint="c", versions={}, started_at="2026",
        ended_at="2026", outcome=outcome,
    )  # fmt: skip
    durable.write_sealed_json(folder.attempt_file(number), dataclasses.asdict(attempt))
    durable.write_text(folder.log_file(number), "said\n")


def held(results: ResultsDir, sweep: str) -> AbstractContextManager[object]:
    return lease.hold(results.sweep(sweep).runs, sweep, Run, partial(Run, command="orch run", executor="serial"))


def paths(found: Findings, category: Category) -> list[str]:
    return [item.path.as_posix() for item in found.items if item.category is category]


def files_of(root: ResultsDir) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(root.root.rglob("*")) if path.is_file()}


def ids(text: str = SMALL) -> list[str]:
    return [trial.trial_id for trial in spec_and_grid(text)[1].trials]


def test_by_default_only_checkpoints_of_finished_trials_go_and_looking_writes_nothing(root: ResultsDir) -> None:
    before = files_of(root)
    found = find_garbage(root, None, Policy())
    (checkpoint,) = found.items
    assert checkpoint.category is Category.CHECKPOINTS
    assert checkpoint.path == root.trial(ids()[3]).checkpoints / "1-4"
    assert checkpoint.num_bytes == sum(path.stat().st_size for path in checkpoint.path.iterdir()) > 1000
    assert files_of(root) == before


def test_the_best_of_a_cell_keeps_its_weights(root: ResultsDir) -> None:
    found = free_garbage(root, None, Policy(weights="best"))
    assert paths(found, Category.WEIGHTS) == [str(root.trial(ids()[0]).checkpoints / FINAL)]
    kept = [trial_id for trial_id in ids() if root.trial(trial_id).final_weights_file.exists()]
    assert kept == ids()[1:3], "the better of the first cell, the only COMPLETE one of the second"


def test_a_cell_without_validation_images_has_no_best(root: ResultsDir) -> None:
    trial = spec_and_grid(SMALL)[1].trials[0]
    write_record(root, trial, val_acc=None, val_loss=None)
    assert paths(find_garbage(root, None, Policy(weights="best")), Category.WEIGHTS) == []


def test_what_makes_results_is_never_freed(root: ResultsDir) -> None:
    add_attempt(root.trial(ids()[0]), 3, "COMPLETE")
    before = files_of(root)
    free_garbage(root, "tiny", Policy(weights="none", logs="newest"))
    gone = {path.relative_to(root.root / "trials") for path in set(before) - set(files_of(root))}
    assert gone
    assert all(path.parts[1] == "checkpoints" or path.suffix == ".log" for path in gone)
    assert sorted(path.name for path in root.trial(ids()[0]).attempts.glob("*.log")) == ["3.log"]
    assert len(list(root.trial(ids()[0]).attempts.glob("*.json"))) == 3
    assert find_garbage(root, "tiny", Policy(weights="none", logs="newest")).items == ()


def test_an_unfinished_trial_is_left_alone(root: ResultsDir) -> None:
    folder = root.trial(ids()[0])
    folder.record_file.unlink()
    add_checkpoint(folder, "3-0")
    found = find_garbage(root, None, Policy(weights="none", logs="newest"))
    assert not any(folder.path in item.path.parents for item in found.items)
    assert "1 trials that are not finished are left alone" in found.notes


def test_a_damaged_record_is_left_alone(root: ResultsDir) -> None:
    folder = root.trial(ids()[0])
    folder.record_file.write_bytes(b"{")
    found = find_garbage(root, None, Policy(weights="none"))
    assert not any(folder.path in item.path.parents for item in found.items)
    assert "1 trials whose record cannot be read are left alone" in found.notes


def test_of_one_sweep_only_what_no_other_holds_is_freed(root: ResultsDir) -> None:
    add_sweep(root, SMALL.replace("name: tiny", "name: other").replace("depth: [1, 2]", "depth: [1]"))
    found = find_garbage(root, "tiny", Policy(weights="none"))
    assert paths(found, Category.WEIGHTS) == [str(root.trial(ids()[2]).checkpoints / FINAL)]
    assert "2 trials that other sweeps hold too, or may hold, are left alone" in found.notes
    assert len(paths(find_garbage(root, None, Policy(weights="none")), Category.WEIGHTS)) == 3


def test_best_of_any_sweep_is_kept_for_all(root: ResultsDir) -> None:
    """A cell of another sweep with only the worse seed has that seed as its best."""
    add_sweep(root, SMALL.replace("name: tiny", "name: other").replace("seeds: 2", "seeds: 1"))
    assert paths(find_garbage(root, None, Policy(weights="best")), Category.WEIGHTS) == []


def test_a_sweep_that_a_run_holds_is_left_alone(root: ResultsDir) -> None:
    with held(root, "tiny"):
        with pytest.raises(LockedError):
            free_garbage(root, "tiny", Policy(weights="none"))
        for found in (
            find_garbage(root, None, Policy(weights="none")),
            free_garbage(root, None, Policy(weights="none")),
        ):
            assert found.items == ()
            assert "4 trials of sweeps that a run holds are left alone" in found.notes
    assert len(free_garbage(root, None, Policy(weights="none")).items) == 4


def test_a_damaged_index_stops_everything_that_may_be_its_own(root: ResultsDir) -> None:
    add_sweep(root, SMALL.replace("name: tiny", "name: other"))
    root.sweep("other").trials_file.write_text("{")
    found = find_garbage(root, None, Policy(weights="none", orphans="none"))
    assert found.items == ()
    assert any("the index of sweep other cannot be read" in note for note in found.notes)


def test_orphans_go_only_when_asked_and_in_two_steps(root: ResultsDir) -> None:
    add_sweep(root, SMALL.replace("depth: [1, 2]", "depth: [1]"))
    orphans = [root.trial(trial_id) for trial_id in ids()[2:]]
    assert find_garbage(root, None, Policy(weights="none")).items[0].category is Category.WEIGHTS
    assert paths(find_garbage(root, None, Policy()), Category.ORPHANS) == []
    found = free_garbage(root, None, Policy(orphans="records"))
    assert sorted(paths(found, Category.ORPHANS)) == sorted(str(folder.checkpoints) for folder in orphans)
    assert all(folder.record_file.exists() for folder in orphans)
    free_garbage(root, None, Policy(orphans="none"))
    assert sorted(folder.path.name for folder in root.trials()) == sorted(ids()[:2])


def test_old_leftovers_of_processes_that_are_gone_go(root: ResultsDir) -> None:
    now = time.time()
    folder = root.trial(ids()[0])
    gone, alive = 2**22 + 1, os.getppid()
    old = [
        root.root / f".tmp-a-{this_machine()}-{gone}-ab",
        folder.checkpoints / f".tmp-1-2-{this_machine()}-{gone}-ab",
    ]
    old += [folder.path / f".tmp-record.json-elsewhere-{gone}-ab"]
    kept = [folder.path / f".tmp-b-{this_machine()}-{gone}-ab", folder.path / f".tmp-c-{this_machine()}-{alive}-ab"]
    kept += [folder.path / f".tmp-d-elsewhere-{gone}-ab"]
    for path in (old[0], old[2], *kept):
        path.write_bytes(b"1234")
    old[1].mkdir()
    (old[1] / WEIGHTS).write_bytes(b"12345678")
    for path, hours in zip((*old, *kept), (2, 2, 25, 0, 2, 23), strict=True):
        os.utime(path, (now - hours * 3600, now - hours * 3600))
    found = free_garbage(root, None, Policy())
    assert sorted(paths(found, Category.LEFTOVERS)) == sorted(str(path) for path in old)
    assert sum(item.num_bytes for item in found.items if item.category is Category.LEFTOVERS) == 16
    assert all(path.exists() for path in kept)


def test_the_findings_are_json(root: ResultsDir) -> None:
    assert json.dumps([item.category for item in find_garbage(root, None, Policy(weights="none")).items])
