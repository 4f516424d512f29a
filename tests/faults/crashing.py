"""Crashes at chosen writes: the n-th durable write of a process tears and the process is gone.

Everything runs in forked children of a process that has imported it all, so a crash and a resume take about a second.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator import local_files, object_files
from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.sweep import run_sweep
from tests.tuning.sweeps import spec_and_grid

CRASHED = 77

TEXT = """\
name: tiny
axes: {depth: [1, 2], attention: [self, reattention]}
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 1.0}
data: {name: digits}
train: {epochs: 2, batch_size: 720, lr: 2.0e-3}
probe: {images: 4, skip_images: 4}
tracking: {mlflow: false}
"""

TWO_TRIALS = TEXT.replace("depth: [1, 2], ", "").replace("embed_dim: 8", "embed_dim: 8, depth: 1")

SEARCH = TWO_TRIALS.replace(
    "name: tiny",
    """\
name: tiny
tune:
  axes: {lr: {log_uniform: [1.0e-5, 1.0e-1]}}
  num_trials: 6
  sampler: tpe
  batch_size: 2
  prune: true""",
).replace(", lr: 2.0e-3", "")


class Writes:
    """Counts the durable writes of this process, and ends it at the n-th.

    On a file system a write is what is flushed, and it tears: half of the bytes are there. On an object store it is a
    PUT, which is there or not: odd ones are lost, even ones arrive and nobody hears of it.
    """

    def __init__(self, crash_at: int | None = None) -> None:
        self.number, self.crash_at = 0, crash_at

    def install(self) -> None:
        """Patch this process, which must be a child that ends."""
        flush = os.fsync

        def fsync(descriptor: int) -> None:
            if self._is_due():
                self._tear(descriptor)
            flush(descriptor)

        local_files.os.fsync = fsync  # type: ignore[assignment]
        object_files._put = self._around(object_files._put)
        object_files.create = self._around(object_files.create)

    def _around(self, put: Callable[[Path, bytes], Any]) -> Callable[[Path, bytes], Any]:
        def counted(path: Path, content: bytes) -> Any:
            is_due = self._is_due()
            if is_due and self.number % 2:
                os._exit(CRASHED)
            answer = put(path, content)
            if is_due:
                os._exit(CRASHED)
            return answer

        return counted

    def _is_due(self) -> bool:
        self.number += 1
        return self.number == self.crash_at

    def _tear(self, descriptor: int) -> None:
        with suppress(OSError):  # a folder, whose flush does not tear
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        os._exit(CRASHED)


def in_child(function: Callable[[], None], output: Path) -> Callable[[], int]:
    """Start `function` in a forked child; the answer waits for it and gives its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with output.open("ab") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  what was caught before is not ours
            sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
            function()
            code = 0
        except BaseException:
            output.with_suffix(".error").write_text(traceback.format_exc())
        finally:
            os._exit(code)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_to_end(
    results: ResultsDir, text: str = TEXT, crash_at: int | None = None, count_in: Path | None = None
) -> None:
    """`orch run` of the spec `text` on the serial executor, in this process.

    Args:
        count_in: a file that gets the number of writes.
    """
    writes = Writes(crash_at)
    writes.install()
    spec, grid = spec_and_grid(text)
    summary = run_sweep(spec, grid, results, RunOptions(executor="serial"))
    if count_in is not None:
        count_in.write_text(str(writes.number))
    assert summary.num_finished == summary.num_trials, summary


def numbers_of(results: ResultsDir, text: str = TEXT) -> dict[str, Any]:
    """All that must be equal after any sequence of crashes: weights, metrics, predictions, probes, tables, members, and
    what was proposed and chosen.
    """
    sweep, spec = results.sweep("tiny"), spec_and_grid(text)[0]
    return {
        "index": sweep.trials_file.read_bytes(),
        "spec": sweep.spec_file.read_bytes(),
        "tuned": None if spec.tune is None else sweep.tuned_file.read_bytes(),
        **{member.trial_id: _trial_numbers(results, member.trial_id) for member in sweep.read_index().all_members},
    }


def _trial_numbers(results: ResultsDir, trial_id: str) -> Any:
    folder = results.trial(trial_id)
    record = folder.read_record()
    assert record is not None, f"{trial_id} has no record"
    rows = [row.numbers() for row in folder.read_metrics()]
    names = sorted(path.name for path in files(folder.path))
    if record.state is State.PRUNED:
        return record.numbers(), rows, names
    weights = (folder.checkpoints / "final" / "model.safetensors").read_bytes()
    return record.numbers(), rows, weights, folder.predictions_file.read_bytes(), names


def files(folder: Path) -> list[Path]:
    """Files of a trial whose number does not depend on how often it was started."""
    return [path for path in folder.rglob("*") if not path.is_dir() and path.parent.name != "attempts"]


def leftovers(results: ResultsDir) -> list[str]:
    """Temporary names below the root."""
    return [str(path) for path in results.root.rglob("*") if path.name.startswith(".tmp-")]


def grid_of(text: str = TEXT) -> tuple[SweepSpec, Grid]:
    return spec_and_grid(text)
