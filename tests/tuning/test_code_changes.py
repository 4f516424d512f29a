"""tuning/code_changes.py: a half-trained trial and other code, libraries or data, through `run_sweep`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator import provenance
from orchestrator.errors import ChangedCodeError, StoppedError
from orchestrator.record import TrialRecord
from orchestrator.results import ResultsDir
from orchestrator.training import data
from orchestrator.tuning.events import EpochFinished, Event
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import run_sweep
from tests.tuning.sweeps import TEXT, spec_and_grid

ONE = TEXT.replace("[1, 2]", "[1]").replace("[self, reattention]", "[self]").replace("seeds: 2", "seeds: 1")


class StopAfterAnEpoch:
    """Listener that stops a run behind the first epoch."""

    def start(self, *_: object) -> None: ...

    grow = start

    def phase(self, text: str) -> None: ...

    def waiting(self, expected) -> None: ...

    def event(self, event: Event) -> None:
        if isinstance(event, EpochFinished):
            raise StoppedError

    def close(self) -> None: ...


def start(results: ResultsDir, **options) -> None:
    spec, grid = spec_and_grid(ONE)
    run_sweep(spec, grid, results, RunOptions(executor="serial", **options))


@pytest.fixture
def half_trained(results: ResultsDir) -> ResultsDir:
    spec, grid = spec_and_grid(ONE)
    with pytest.raises(StoppedError):
        run_sweep(spec, grid, results, RunOptions(executor="serial"), [StopAfterAnEpoch()])
    return results


def record_of(results: ResultsDir) -> TrialRecord:
    (folder,) = results.trials()
    record = folder.read_record()
    assert record is not None
    return record


def change_code(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {**provenance.source_hashes(), "training/loop.py": "another", "models/new.py": "0"}
    monkeypatch.setattr(provenance, "code_fingerprint", lambda: "0therc0de")
    monkeypatch.setattr(provenance, "source_hashes", lambda: hashes)


def change_library(monkeypatch: pytest.MonkeyPatch) -> None:
    versions: Mapping[str, str] = {**provenance.versions(), "numpy": "99.1"}
    monkeypatch.setattr(provenance, "versions", lambda: versions)


def change_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "prepare_data", lambda config: "0therda7a")


CHANGES = [
    (change_code, r"training/loop\.py \(changed\); models/new\.py \(new\)"),
    (change_library, r"numpy \S+, now 99\.1"),
    (change_data, r"the dataset's content \(\w+, now 0therda7a\)"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_change_is_refused_with_what_changed_and_nothing_is_touched(
    half_trained: ResultsDir, monkeypatch: pytest.MonkeyPatch, change, words: str
) -> None:
    (folder,) = half_trained.trials()
    change(monkeypatch)
    with pytest.raises(ChangedCodeError, match=words) as refused:
        start(half_trained)
    assert refused.value.exit_code == 3
    assert "--allow-code-change" in str(refused.value)
    assert folder.num_attempts() == 1


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_change_that_is_allowed_stands_in_the_record(
    half_trained: ResultsDir, monkeypatch: pytest.MonkeyPatch, change, words: str
) -> None:
    change(monkeypatch)
    start(half_trained, allow_code_change=True)
    record = record_of(half_trained)
    (told,) = record.deviations
    assert told.startswith("went on from 1-0 after a change of: ")
    assert record.num_attempts == 2


def test_starting_over_leaves_no_mark(half_trained: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    change_code(monkeypatch)
    start(half_trained, retrain_changed=True)
    (folder,) = half_trained.trials()
    assert record_of(half_trained).deviations == ()
    assert folder.read_attempts()[-1].started_from is None


def test_without_a_change_nothing_is_marked(half_trained: ResultsDir) -> None:
    start(half_trained)
    assert record_of(half_trained).deviations == ()
