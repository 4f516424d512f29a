"""A spec, its grid and a results root in, every missing trial trained, a `Summary` out.

What to run is read from the files: trials whose record exists are reused, interrupted ones go on, failed ones wait for
`retry_failed`, diverged ones are an outcome. Who wants to know what happens is a listener; nobody has to.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal, Protocol

from orchestrator import cost, durable, provenance
from orchestrator.errors import DataError
from orchestrator.grid import Grid
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import State, SweepIndex
from orchestrator.results import ResultsDir, SweepFolder
from orchestrator.trial import Trial
from orchestrator.tuning.events import Event, RunSettings, TrialEnded, dataset_key
from orchestrator.tuning.survey import Standing, build_index, survey

ExecutorName = Literal["ray_tune", "serial"]
Executor = Callable[[Sequence[Trial], RunSettings], Iterator[Event]]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run; nothing here changes what a trial is."""

    executor: ExecutorName = "ray_tune"
    address: str | None = None
    retry_failed: bool = False
    retrain_changed: bool = False
    allow_code_change: bool = False
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """How a run ended. num_trials = num_finished + num_failed + num_diverged + num_unfinished."""

    sweep: str
    num_trials: int
    num_finished: int
    """COMPLETE trials, reused ones included."""
    num_reused: int
    """COMPLETE trials that this run did not train."""
    num_failed: int
    num_diverged: int
    num_unfinished: int
    wall_time_s: float
    stopped_by: int | None = None
    """The signal that ended it."""

    @property
    def exit_code(self) -> int:
        if self.stopped_by is not None:
            return 128 + self.stopped_by
        return 0 if self.num_finished == self.num_trials else 1


class Listener(Protocol):
    """Hears what a run does, in this order; must not raise. Whoever made it closes it."""

    def start(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None: ...

    def phase(self, text: str) -> None: ...

    def event(self, event: Event) -> None: ...

    def close(self) -> object: ...


def run_sweep(
    spec: SweepSpec, grid: Grid, results: ResultsDir, options: RunOptions, listeners: Sequence[Listener] = ()
) -> Summary:
    """Train what is missing of `grid` under `results`.

    Raises:
        LockedError: another run holds the sweep.
        ResultsError, DataError, ClusterError: the machine is not ready; nothing was trained, or all is saved.
    """
    began = time.monotonic()
    folder = results.sweep(spec.name)
    with durable.hold(folder.lock_file, f"sweep {spec.name!r}"):
        standings = survey(grid, results, spec.name)
        index = build_index(spec, grid)
        _write_snapshot(folder, spec, index)
        to_run = select_trials(standings, options)
        states = {standing.trial.trial_id: standing.state for standing in standings}
        for listener in listeners:
            listener.start(index, standings, to_run)
        stopped_by = None
        if to_run:
            stopped_by = _run_trials(spec, standings, to_run, results, options, listeners, states)
        trained = {trial.trial_id for trial in to_run}
        return _summarize(spec.name, states, trained, time.monotonic() - began, stopped_by)


def select_trials(standings: Sequence[Standing], options: RunOptions) -> list[Trial]:
    """What has to be trained, the longest first so that no long trial is left alone at the end."""

    def is_due(standing: Standing) -> bool:
        if standing.is_finished:
            return standing.is_other_code and options.retrain_changed
        return standing.state is not State.FAIL or options.retry_failed

    due = [standing.trial for standing in standings if is_due(standing)]
    return sorted(due, key=lambda trial: -predicted_work(trial))


def predicted_work(trial: Trial) -> float:
    """A number that grows with the training time: forward FLOPs times epochs; depth for an attention of one's own."""
    per_image = float(cost.flops(trial)) if cost.is_closed_form(trial) else float(trial.model.depth)
    return per_image * trial.train.epochs


def _run_trials(
    spec: SweepSpec,
    standings: Sequence[Standing],
    to_run: list[Trial],
    results: ResultsDir,
    options: RunOptions,
    listeners: Sequence[Listener],
    states: dict[str, State],
) -> int | None:
    """Train `to_run`, keeping `states` up to date; returns the signal that stopped it, if one did."""
    folder = results.sweep(spec.name)
    folder.stop_file.unlink(missing_ok=True)
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_on_signals(folder))
        settings = _settings(spec, standings, results, options, listeners)
        for standing in standings:
            if standing.is_finished and standing.trial in to_run:
                _forget(results, standing.trial)
        for listener in listeners:
            listener.phase("starting Ray" if options.executor == "ray_tune" else "starting")
        for event in _executor(options.executor)(to_run, settings):
            if isinstance(event, TrialEnded):
                states[event.trial_id] = event.state
            for listener in listeners:
                listener.event(event)
    return stop.signal_number


def _settings(
    spec: SweepSpec,
    standings: Sequence[Standing],
    results: ResultsDir,
    options: RunOptions,
    listeners: Sequence[Listener],
) -> RunSettings:
    from orchestrator.training.data import prepare_data

    fingerprints: dict[str, str] = {}
    roots: dict[str, str | None] = {}
    for standing in standings:
        key = dataset_key(standing.trial)
        if key not in fingerprints:
            for listener in listeners:
                listener.phase(f"preparing dataset {standing.trial.data.name}")
            fingerprints[key] = prepare_data(standing.trial.data)
            root = standing.trial.data.root
            roots[key] = None if root is None else str(Path(root).resolve())  # a worker has another working folder
        _check_same_data(standing, fingerprints[key])
    git_commit, git_dirty = provenance.git_state(Path.cwd())
    return RunSettings(
        results_root=results.root.resolve(),
        stop_file=results.sweep(spec.name).stop_file.resolve(),
        executor=options.executor,
        cpus=spec.resources.cpus,
        gpus=spec.resources.gpus,
        compile=spec.resources.compile,
        probe=spec.probe,
        allow_code_change=options.allow_code_change,
        address=options.address,
        command=options.command,
        git_commit=git_commit,
        git_dirty=git_dirty,
        data_fingerprints=fingerprints,
        roots=roots,
    )


def _check_same_data(standing: Standing, fingerprint: str) -> None:
    """Trials of one sweep must have seen one dataset.

    Raises:
        DataError: a finished trial saw other content under the same name.
    """
    if standing.record is None or standing.record.provenance.data_fingerprint == fingerprint:
        return
    data = standing.trial.data
    raise DataError(
        f"dataset {data.id or data.name!r} is not what trial {standing.trial.trial_id} was trained on "
        f"(fingerprint {standing.record.provenance.data_fingerprint}, now {fingerprint}); "
        "put the old files back, or give the new content its own data.id"
    )


def _executor(name: ExecutorName) -> Executor:
    if name == "serial":
        from orchestrator.tuning import serial

        return serial.execute
    from orchestrator.tuning import ray_tune

    return ray_tune.execute


def _forget(results: ResultsDir, trial: Trial) -> None:
    """Make a finished trial work to do again; what its attempts said stays."""
    folder = results.trial(trial.trial_id)
    folder.record_file.unlink(missing_ok=True)
    folder.probes_file.unlink(missing_ok=True)
    for made_in_training in (folder.checkpoints, folder.probes):
        durable.remove_folder(made_in_training)


def _write_snapshot(folder: SweepFolder, spec: SweepSpec, index: SweepIndex) -> None:
    """Keep the spec and the members; nothing is written where nothing changed."""
    text = spec.source_text
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    if not folder.spec_file.exists() or folder.spec_file.read_text() != text:
        durable.write_text(folder.specs / f"{name}.yaml", text)
        durable.write_text(folder.spec_file, text)
    content = dataclasses.asdict(index)
    content["axes"] = list(index.axes)
    content["members"] = [dataclasses.asdict(member) for member in index.members]
    if not folder.trials_file.exists() or durable.read_sealed_json(folder.trials_file) != content:
        durable.write_sealed_json(folder.trials_file, content)


def _summarize(
    name: str, states: dict[str, State], trained: set[str], wall_time_s: float, stopped_by: int | None
) -> Summary:
    counts = {state: sum(1 for value in states.values() if value is state) for state in State}
    finished = {trial_id for trial_id, state in states.items() if state is State.COMPLETE}
    num_known = counts[State.COMPLETE] + counts[State.FAIL] + counts[State.DIVERGED]
    return Summary(
        sweep=name,
        num_trials=len(states),
        num_finished=len(finished),
        num_reused=len(finished - trained),
        num_failed=counts[State.FAIL],
        num_diverged=counts[State.DIVERGED],
        num_unfinished=len(states) - num_known,
        wall_time_s=wall_time_s,
        stopped_by=stopped_by,
    )


class _Stop:
    """Which signal asked for the stop, if one did."""

    signal_number: int | None = None


@contextmanager
def _stop_on_signals(folder: SweepFolder) -> Iterator[_Stop]:
    """The first SIGINT, SIGTERM or SIGHUP asks all workers to save and stop; the second one leaves at once."""
    stop = _Stop()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.signal_number is not None:
            os._exit(128 + number)
        stop.signal_number = number
        durable.write_text(folder.stop_file, f"signal {number}\n")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        folder.stop_file.unlink(missing_ok=True)
