"""A small results root that later versions must be able to read for ever; `python -m` with this module and a folder.

Three sweeps: `kept` (COMPLETE trials in two cells), `troubled` (DIVERGED, FAIL and an interrupted trial with its
checkpoint) and `tuned` (searched before it was measured). Beside the folder, a JSON file of its name has the numbers
that readers must find. A root of an earlier version is never written anew: a change of the layout adds one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

from orchestrator import durable, lease, provenance
from orchestrator.grid import expand_grid
from orchestrator.record import State
from orchestrator.results import ResultsDir
from orchestrator.spec import loads_spec
from orchestrator.training import device
from orchestrator.trial import Trial
from orchestrator.tuning import attempt
from orchestrator.tuning.events import EpochFinished, Event
from orchestrator.tuning.runner import RunOptions
from orchestrator.tuning.stop_file import ask_to_stop
from orchestrator.tuning.sweep import run_sweep

ROOT = Path(__file__).parents[2]

MODEL = """\
model: {embed_dim: 8, num_heads: 2, patch_size: 4, mlp_ratio: 1.0}
data: {name: digits}
tracking: {mlflow: false}
"""
KEPT = f"""\
# Question: do two attentions of one block differ?
name: kept
axes:
  depth: [1]
  attention: [self, reattention]
seeds: 2
{MODEL}train: {{epochs: 2, batch_size: 256, lr: 2.0e-3}}
probe: {{images: 8, skip_images: 8}}
"""
TROUBLED = f"""\
# Question: what does a sweep look like in which things went wrong?
name: troubled
axes:
  lr: [1.0e+12, 1.0e-3]
seeds: 2
{MODEL.replace("{embed_dim", "{depth: 1, embed_dim")}train: {{epochs: 2, batch_size: 256, optimizer: sgd}}
probe: {{enabled: false}}
"""
TUNED = f"""\
# Question: which learning rate does one block want?
name: tuned
axes:
  depth: [1]
seeds: 2
tune:
  axes: {{lr: {{log_uniform: [1.0e-3, 1.0e-2]}}}}
  num_trials: 2
  epochs: 1
{MODEL}train: {{epochs: 2, batch_size: 256}}
probe: {{enabled: false}}
"""


class Interrupt:
    """A listener that asks for a stop after the first epoch of a trial that does not diverge."""

    def __init__(self, stop_file: Path) -> None:
        self.stop_file = stop_file

    def event(self, event: Event) -> None:
        if isinstance(event, EpochFinished):
            ask_to_stop(self.stop_file, "asked to")

    def start(self, *_: object) -> None: ...

    grow = phase = start

    def close(self) -> None: ...


def make_fixture(root: Path) -> None:
    """Write the root and the numbers beside it."""
    results = ResultsDir(root)
    with ExitStack() as stack:
        for module in (provenance, lease.provenance):
            stack.enter_context(patch.object(module, "host", lambda: "laptop"))
        stack.enter_context(patch.object(device, "cpu_name", lambda: "a processor"))
        stack.enter_context(patch.object(lease, "this_machine", lambda: "0" * 8))
        stack.enter_context(patch.object(provenance, "git_state", lambda folder: ("0" * 40, False)))
        _train(results, KEPT)
        with patch.object(attempt, "train", _failing_once(attempt.train)):
            _train(results, TROUBLED, [Interrupt(results.sweep("troubled").stop_file)])
        _train(results, TUNED)
    _forget_this_machine(root)
    durable.write_json(root.with_suffix(".json"), numbers_of(results))


def _train(results: ResultsDir, text: str, listeners: Any = ()) -> None:
    spec = loads_spec(text)
    command = f"orch run {spec.name}.yaml --executor serial"
    run_sweep(spec, expand_grid(spec), results, RunOptions(executor="serial", command=command), listeners)


def _failing_once(train: Any) -> Any:
    """As `train`, but one trial finds a bug."""

    def train_or_fail(trial: Trial, **options: Any) -> Iterator[Any]:
        if trial.train.lr < 1.0 and trial.seed == 0:
            raise RuntimeError("a bug in somebody's attention")
        return (yield from train(trial, **options))

    return train_or_fail


def _forget_this_machine(root: Path) -> None:
    """Paths in tracebacks and logs, as they would stand on another machine."""
    for path in (path for path in root.rglob("*") if path.suffix in (".json", ".log")):
        text = path.read_text().replace(str(ROOT), "~/orch").replace(sys.prefix, "~/orch/.venv")
        if text == path.read_text():
            continue
        if path.suffix == ".json":
            content = json.loads(text)
            content.pop("sha256")
            durable.write_sealed_json(path, content)
        else:
            durable.write_text(path, text)


def numbers_of(results: ResultsDir) -> dict[str, Any]:
    """What readers must find, by sweep and trial."""
    return {
        name: {
            member.trial_id: _numbers_of_trial(results, member.trial_id)
            for member in results.sweep(name).read_index().all_members
        }
        for name in results.sweeps()
    }


def _numbers_of_trial(results: ResultsDir, trial_id: str) -> dict[str, Any]:
    folder = results.trial(trial_id)
    record = folder.read_record()
    found = {
        "state": folder.state().value,
        "rows": [row.numbers() for row in folder.read_metrics()],
        "outcomes": [attempt.outcome for attempt in folder.read_attempts()],
    }
    if record is not None:
        found["record"] = record.numbers()
    return json.loads(json.dumps(found))


if __name__ == "__main__":
    make_fixture(Path(sys.argv[1]))
    assert {State.COMPLETE, State.DIVERGED, State.FAIL, State.WAITING} == {
        folder.state() for folder in ResultsDir(Path(sys.argv[1])).trials()
    }
