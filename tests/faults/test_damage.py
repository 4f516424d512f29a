"""Random flips and cuts of what a sweep wrote: each is found by a checksum, named, and stepped over."""

from __future__ import annotations

import logging
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import durable
from orchestrator.errors import ResultsError
from orchestrator.npz_files import read_npz
from orchestrator.record import EpochMetrics
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.training.checkpoint import CheckpointStore
from orchestrator.training.probe_store import ProbeStore
from orchestrator.tuning.checksums import check_files
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import run_sweep
from orchestrator.views.predictions import read_is_correct
from tests.faults.crashing import TEXT, numbers_of
from tests.tuning.sweeps import spec_and_grid

NUM_DAMAGES = 1000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> ResultsDir:
    """The sweep of `TEXT`, each trial with the two checkpoints that were there before it ended."""
    results = ResultsDir(tmp_path_factory.mktemp("trained") / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointStore, "keep_only_final", lambda store: None)
        spec, grid = spec_and_grid(TEXT)
        run_sweep(spec, grid, results, RunOptions(executor="serial"))
    return results


def contents_of(results: ResultsDir) -> dict[str, Any]:
    """As `numbers_of`, without the names of the files that lie there."""
    found = numbers_of(results)
    return {name: content[:-1] if isinstance(content, tuple) else content for name, content in found.items()}


def damage(path: Path, choice: random.Random) -> str:
    """Flip one bit of a file or cut it short; returns what was done."""
    content = bytearray(path.read_bytes())
    if choice.random() < 0.3:
        length = choice.randrange(len(content))
        path.write_bytes(content[:length])
        return f"{path.name} cut to {length} bytes"
    position, bit = choice.randrange(len(content)), choice.randrange(8)
    content[position] ^= 1 << bit
    path.write_bytes(content)
    return f"{path.name} bit {bit} of byte {position}"


def what_became_of(read: Callable[[], object], expected: object, name: str) -> str:
    """`named` in an error, `harmless` because the content is what it was, or `changed`."""
    try:
        found = read()
    except ResultsError as error:
        return "named" if name in str(error) else f"unnamed: {error}"
    return "harmless" if found == expected else "changed"


def test_a_thousand_damages_of_checkpoints_are_named_and_stepped_over(
    trained: ResultsDir, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trial_id = next(folder.path.name for folder in trained.trials())
    folder = tmp_path / "checkpoints"
    shutil.copytree(trained.trial(trial_id).checkpoints, folder)
    store = CheckpointStore(folder)
    newest = store.load_newest()
    assert newest is not None
    shutil.rmtree(folder / "final")
    older = min(path.name for path in folder.iterdir())
    assert older != newest.name
    choice, found = random.Random(0), Counter[str]()
    files = sorted(path for path in (folder / newest.name).iterdir())
    for _ in range(NUM_DAMAGES):
        path = choice.choice(files)
        whole = path.read_bytes()
        done = damage(path, choice)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            loaded = store.load_newest()
        path.write_bytes(whole)
        assert loaded is not None, done
        if loaded.name == older:
            assert str(folder / newest.name) in caplog.text, done
            found["stepped over"] += 1
        else:
            assert loaded.files == newest.files, done
            found["harmless"] += 1
    assert found["stepped over"] > 0.99 * NUM_DAMAGES, found


def test_a_thousand_damages_of_records_and_claims_are_named(trained: ResultsDir) -> None:
    trial = next(iter(trained.trials()))
    sweep = trained.sweep("tiny")
    readers: dict[Path, Callable[[], object]] = {
        trial.record_file: trial.read_record,
        trial.metrics_file: lambda: whole_rows(trial),
        sweep.trials_file: sweep.read_index,
        trial.attempt_file(1): lambda: durable.read_sealed_json(trial.attempt_file(1)),
        sweep.runs / "1.json": lambda: durable.read_sealed_json(sweep.runs / "1.json"),
        trial.predictions_file: lambda: held_against_record(trial, trial.predictions_file),
        trial.probes_file: lambda: held_against_record(trial, trial.probes_file),
    }
    expected = {path: read() for path, read in readers.items()}
    choice, found = random.Random(1), Counter[str]()
    for _ in range(NUM_DAMAGES):
        path = choice.choice(list(readers))
        whole = path.read_bytes()
        done = damage(path, choice)
        outcome = what_became_of(readers[path], expected[path], path.name)
        path.write_bytes(whole)
        assert outcome in ("named", "harmless"), f"{done}: {outcome}"
        found[outcome] += 1
    assert found["named"] > 0.9 * NUM_DAMAGES, found


def held_against_record(trial: TrialFolder, path: Path) -> dict[str, bytes]:
    """Arrays that `orch verify` finds nothing wrong with; what a file says beside them, such as times, is not read."""
    problems = [text for text in check_files(trial).problems if str(path) in text]
    if problems:
        raise ResultsError(problems[0])
    return {name: array.tobytes() for name, array in read_npz(path.read_bytes()).items()}


def test_a_thousand_damages_of_arrays_keep_nothing_from_being_read(trained: ResultsDir, tmp_path: Path) -> None:
    """A report leaves the file out and says so; a resumed trial probes the moment again."""
    results = ResultsDir(tmp_path / "results")
    shutil.copytree(trained.root, results.root)
    trial = next(iter(results.trials()))
    record = trial.read_record()
    assert record is not None
    assert record.test_acc is not None
    moments = tmp_path / "moments"
    moments.mkdir()
    shutil.copy(trial.probes_file, moments / "0.npz")
    expected = read_is_correct(trial, record.test_acc)
    assert expected is not None
    probed = ProbeStore(moments).moments()
    choice, found = random.Random(3), Counter[str]()
    for _ in range(NUM_DAMAGES):
        path = choice.choice([trial.predictions_file, moments / "0.npz"])
        whole = path.read_bytes()
        damage(path, choice)
        if path == trial.predictions_file:
            bits = read_is_correct(trial, record.test_acc)
            is_left_out = bits is None
            assert is_left_out or np.array_equal(bits, expected)
        else:
            left = ProbeStore(moments).moments()
            is_left_out = not left
            assert is_left_out or all(left[0][name].tobytes() == array.tobytes() for name, array in probed[0].items())
        path.write_bytes(whole)
        found["left out" if is_left_out else "harmless"] += 1
    assert found["left out"] > 0.7 * NUM_DAMAGES, found  # small archives are half descriptions that nobody reads


def whole_rows(trial: TrialFolder) -> list[EpochMetrics]:
    """The metric rows; a torn last line does not count, and is missed beside the record."""
    rows = trial.read_metrics()
    problems = [text for text in check_files(trial).problems if "epochs of the record" in text]
    if problems:
        raise ResultsError(problems[0])
    return rows


@pytest.mark.slow
def test_a_sweep_whose_files_were_all_damaged_ends_as_it_was(trained: ResultsDir, tmp_path: Path) -> None:
    expected = contents_of(trained)
    results = ResultsDir(tmp_path / "results")
    shutil.copytree(trained.root, results.root)
    choice = random.Random(2)
    for path in [
        *results.root.rglob("record.json"),
        *results.root.rglob("trial.json"),
        results.sweep("tiny").trials_file,
    ]:
        damage(path, choice)
    for path in results.root.rglob("MANIFEST.json"):
        damage(path, choice)
    spec, grid = spec_and_grid(TEXT)
    summary = run_sweep(spec, grid, results, RunOptions(executor="serial"))
    assert (summary.num_finished, summary.num_reused) == (4, 0)
    assert contents_of(results) == expected
    assert len(list((results.sweep("tiny").runs).glob("*.json"))) == 2


@pytest.mark.parametrize("lost", ["trials/*", "trials/*/attempts", "trials/*/checkpoints", "trials/*/record.json"])
def test_a_folder_that_somebody_deleted_is_work_to_do(trained: ResultsDir, tmp_path: Path, lost: str) -> None:
    expected = contents_of(trained)
    results = ResultsDir(tmp_path / "results")
    shutil.copytree(trained.root, results.root)
    (place,) = sorted(results.root.glob(lost))[:1]
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    spec, grid = spec_and_grid(TEXT)
    summary = run_sweep(spec, grid, results, RunOptions(executor="serial"))
    assert summary.num_finished == 4
    is_needed = lost in ("trials/*", "trials/*/record.json")
    assert summary.num_reused == (3 if is_needed else 4)
    if is_needed:
        assert contents_of(results) == expected
