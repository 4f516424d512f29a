"""Every durable write of a sweep tears once; the next run ends as one that was never touched."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.training.loop import train
from orchestrator.tuning.cell_search import survey_searches
from tests.faults.crashing import CRASHED, SEARCH, TEXT, TWO_TRIALS, in_child, leftovers, numbers_of, run_to_end
from tests.s3_server import new_root, s3_server
from tests.tuning.sweeps import spec_and_grid

NUM_AT_ONCE = 2
EVERY_OF_SEARCH = 11
"""Of the 500 writes of a search, each this many-th tears; a trial makes some 30, so every kind of file is met."""

Walk = Generator[Callable[[], int], int, None]
"""Yields the wait for a child, is sent its exit code."""


def reference(results: ResultsDir, scratch: Path, text: str) -> tuple[dict[str, Any], int]:
    """The numbers of a run that nothing happened to, and its number of writes."""
    spec, grid = spec_and_grid(text)
    survey_searches(grid, spec.tune, ResultsDir(scratch / "none"), lambda standing: False)
    for trial in grid.trials or [search.base for search in grid.searches.values()]:
        list(train(trial))  # all that children import is imported here, once
    count = scratch / "count"
    assert in_child(lambda: run_to_end(results, text, count_in=count), scratch / "reference")() == 0, errors(scratch)
    return numbers_of(results, text), int(count.read_text())


def errors(scratch: Path) -> str:
    return "\n".join(path.read_text() for path in scratch.glob("*.error"))


def crash_and_resume(results: ResultsDir, expected: dict[str, Any], scratch: Path, text: str, crash_at: int) -> Walk:
    """Crash at one write, go on, compare; yields what has to be waited for."""
    output = scratch / f"{crash_at}"
    code = yield in_child(lambda: run_to_end(results, text, crash_at), output)
    assert code == CRASHED, f"write {crash_at} was not reached: {errors(scratch)}"
    finished = {folder.path.name: folder.record_file.read_bytes() for folder in results.trials() if is_finished(folder)}
    code = yield in_child(lambda: run_to_end(results, text), output)
    assert code == 0, f"after a crash at write {crash_at}: {errors(scratch)}"
    assert numbers_of(results, text) == expected, f"after a crash at write {crash_at}"
    assert leftovers(results) == [], f"after a crash at write {crash_at}"
    for trial_id, record in finished.items():
        assert results.trial(trial_id).record_file.read_bytes() == record, f"{trial_id} was finished and ran again"
    for folder in results.trials():
        assert len(folder.read_attempts()) <= 2


def is_finished(folder: Any) -> bool:
    return folder.state() in (State.COMPLETE, State.PRUNED)


def run_all(steps: deque[Walk]) -> None:
    """Walk through all of `steps`, a few at once."""
    active: deque[tuple[Walk, Callable[[], int]]] = deque()
    while steps or active:
        while steps and len(active) < NUM_AT_ONCE:
            walk = steps.popleft()
            active.append((walk, next(walk)))
        walk, wait = active.popleft()
        try:
            active.append((walk, walk.send(wait())))
        except StopIteration:
            continue


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_after_a_crash_at_any_write_the_next_run_ends_as_one_never_touched(tmp_path: Path) -> None:
    expected, num_writes = reference(ResultsDir(tmp_path / "whole"), tmp_path, TEXT)
    assert num_writes > 100
    run_all(
        deque(
            crash_and_resume(ResultsDir(tmp_path / f"crash-{n}"), expected, tmp_path, TEXT, n)
            for n in range(1, num_writes + 1)
        )
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_search_proposes_prunes_and_chooses_the_same_after_a_crash(tmp_path: Path) -> None:
    expected, num_writes = reference(ResultsDir(tmp_path / "whole"), tmp_path, SEARCH)
    states = {folder.state() for folder in ResultsDir(tmp_path / "whole").trials()}
    assert states == {State.COMPLETE, State.PRUNED}
    assert num_writes > 30 * EVERY_OF_SEARCH
    run_all(
        deque(
            crash_and_resume(ResultsDir(tmp_path / f"crash-{n}"), expected, tmp_path, SEARCH, n)
            for n in range(1, num_writes + 1, EVERY_OF_SEARCH)
        )
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_on_an_object_store_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_CACHE", str(tmp_path / "cache"))
    with s3_server():
        expected, num_writes = reference(ResultsDir(new_root()), tmp_path, TWO_TRIALS)
        assert num_writes > 30
        run_all(
            deque(
                crash_and_resume(ResultsDir(new_root()), expected, tmp_path, TWO_TRIALS, n)
                for n in range(1, num_writes + 1)
            )
        )
