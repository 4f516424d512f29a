"""Trials in, trained one executor call after the other under one set of settings; what happens is told to listeners.

A run of a sweep has one runner. Datasets are prepared, signals are watched and Ray is started when something is
trained first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from orchestrator import durable, provenance
from orchestrator.errors import DataError, NotReadyError
from orchestrator.grids.sweep_spec import SweepSpec
from orchestrator.record import State, SweepIndex
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.code_changes import find_changed, refusal
from orchestrator.tuning.device_memory import memory_warnings
from orchestrator.tuning.events import Event, Notice, RunSettings, TrialEnded, dataset_key
from orchestrator.tuning.forecast import forecast
from orchestrator.tuning.packing import packs_by_cell
from orchestrator.tuning.preflight import check_machine
from orchestrator.tuning.pruning import PruneRule
from orchestrator.tuning.same_error import SameErrorWatch
from orchestrator.tuning.stop_file import Stop, ask_to_stop, stop_on_signals
from orchestrator.tuning.survey import Standing
from orchestrator.tuning.timing import ExpectedTime

log = logging.getLogger("orchestrator")

ExecutorName = Literal["ray_tune", "serial"]
Executor = Callable[[Sequence[Trial], RunSettings], Iterator[Event | Notice]]
Session = Callable[[RunSettings], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run; nothing here changes what a trial is."""

    executor: ExecutorName = "ray_tune"
    address: str | None = None
    insecure: bool = False
    retry_failed: bool = False
    retrain_changed: bool = False
    allow_code_change: bool = False
    keep_going: bool = False
    """Train on though trial after trial FAILs with the same traceback."""
    command: str = ""
    again: str = ""
    """The command that goes on with the sweep."""


class Listener(Protocol):
    """Hears what a run does; must not raise. Whoever made it closes it."""

    def start(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None: ...

    def grow(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        """More trials are known: `index` and `standings` hold all of them, `to_run` what is trained next."""

    def phase(self, text: str) -> None: ...

    def waiting(self, expected: Mapping[str, ExpectedTime]) -> None:
        """For seconds this process only waits until the first trials run elsewhere, or it is about to train them.

        Args:
            expected: how long trials will train, by trial_id, of those of which something is known.
        """

    def event(self, event: Event) -> None: ...

    def close(self) -> object: ...


@dataclass
class Runner:
    """Trains trials of one sweep; `states` says what became of every trial it was given."""

    spec: SweepSpec
    results: ResultsDir
    options: RunOptions
    listeners: Sequence[Listener]
    stack: ExitStack
    """Closes what training opened."""
    run: tuple[str, int] | None = None
    """The sweep and the number of this run."""
    note: Callable[[str], None] = lambda text: None
    """Keeps what a person should know of the run as a whole."""
    states: dict[str, State] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    """Ids of the trials that this run took on."""
    stop: Stop = field(default_factory=Stop)
    fingerprints: dict[str, str] = field(default_factory=dict)
    roots: dict[str, str | None] = field(default_factory=dict)
    errors: SameErrorWatch = field(default_factory=SameErrorWatch)
    given_up: str | None = None
    """Why no trial is worth starting any more: all of them meet one error."""
    is_open: bool = False
    has_started: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is to be started any more."""
        return self.stop.signal_number is not None or self.given_up is not None

    def tell(self, index: SweepIndex, standings: Sequence[Standing], to_run: Sequence[Trial]) -> None:
        """Tell the listeners what is known and what comes next."""
        for standing in standings:
            self.states.setdefault(standing.trial.trial_id, standing.state)
        for listener in self.listeners:
            (listener.grow if self.has_started else listener.start)(index, standings, to_run)
        self.has_started = True

    def phase(self, text: str) -> None:
        for listener in self.listeners:
            listener.phase(text)

    def train(
        self,
        standings: Sequence[Standing],
        to_run: Sequence[Trial],
        rules: Mapping[str, PruneRule] | None = None,
        *,
        is_probed: bool = True,
    ) -> None:
        """Train `to_run` in this order; a finished one is trained anew.

        Args:
            standings: of all trials that must have seen the same data, `to_run` among them.
            rules: what search trials are held against, by trial_id.
            is_probed: whether the spec's probes are taken.

        Raises:
            DataError: a finished trial saw other data.
            ChangedCodeError: other code, libraries or data half trained some of them.
            NotReadyError: the machine or the cluster is not ready, or is no longer.
        """
        self._open()
        settings = self._settings(standings)
        settings = replace(settings, prune=rules or {}, probe=settings.probe if is_probed else None)
        self._check_machine(to_run, settings)
        records = [standing.record for standing in standings if standing.record is not None]
        settings = replace(settings, expected=forecast(to_run, records, settings))
        finished = {standing.trial.trial_id for standing in standings if standing.is_finished}
        changed = find_changed(self.results, to_run, settings)
        if changed and not (self.options.allow_code_change or self.options.retrain_changed):
            raise refusal(changed)
        for trial in to_run:
            if trial.trial_id in finished or (trial.trial_id in changed and self.options.retrain_changed):
                _forget(self.results, trial)
        self.trained.update(trial.trial_id for trial in to_run)
        execute = self._start(settings)
        self.stop.listen()
        not_ready = ""
        for event in execute(to_run, settings):
            if isinstance(event, Notice):
                self.phase(event.text)
                self.note(event.text)
                continue
            if isinstance(event, TrialEnded):
                self.states[event.trial_id] = event.state
                if event.not_ready is not None and not not_ready:
                    not_ready = event.not_ready
                    ask_to_stop(settings.stop_file, not_ready)
                self._watch_errors(event, settings)
            for listener in self.listeners:
                listener.event(event)
        if not_ready:
            raise NotReadyError(not_ready)

    def _start(self, settings: RunSettings) -> Executor:
        """The executor, its processes started."""
        self.phase("starting Ray" if self.options.executor == "ray_tune" else "starting")
        execute, session = find_executor(self.options.executor), find_session(self.options.executor)
        for listener in self.listeners:
            listener.waiting(settings.expected)
        self.stack.enter_context(session(settings))
        return execute

    def _check_machine(self, to_run: Sequence[Trial], settings: RunSettings) -> None:
        """Refuse what this machine cannot hold; say what its devices will probably not."""
        check_machine(to_run, settings)
        if self.options.address is None:
            for warning in memory_warnings(to_run, settings.resources_of, packs_by_cell(to_run, settings)):
                log.warning("warning: %s", warning)

    def _watch_errors(self, ended: TrialEnded, settings: RunSettings) -> None:
        why = None if self.options.keep_going else self.errors.see(ended)
        if why is not None and self.given_up is None:
            self.given_up = why
            ask_to_stop(settings.stop_file, why)

    def _open(self) -> None:
        if not self.is_open:
            stop_file = self.results.sweep(self.spec.name).stop_file
            durable.remove_file(stop_file)
            farewell = f"left at once; go on with: {self.options.again}" if self.options.again else ""
            self.stop = self.stack.enter_context(stop_on_signals(stop_file, farewell))
            self.is_open = True

    def _settings(self, standings: Sequence[Standing]) -> RunSettings:
        for standing in standings:
            self._prepare(standing.trial)
            _check_same_data(standing, self.fingerprints[dataset_key(standing.trial)])
        git_commit, git_dirty = provenance.git_state(Path.cwd())
        return RunSettings(
            results_root=self.results.root.resolve(),
            stop_file=self.results.sweep(self.spec.name).stop_file.resolve(),
            executor=self.options.executor,
            resources=self.spec.resources,
            resource_overrides=self.spec.resource_overrides,
            probe=self.spec.probe,
            allow_code_change=self.options.allow_code_change,
            run=self.run,
            address=self.options.address,
            insecure=self.options.insecure,
            command=self.options.command,
            again=self.options.again or "orch run",
            git_commit=git_commit,
            git_dirty=git_dirty,
            data_fingerprints=self.fingerprints,
            roots=self.roots,
        )

    def _prepare(self, trial: Trial) -> None:
        from orchestrator.training.data import prepare_data

        key = dataset_key(trial)
        if key not in self.fingerprints:
            self.phase(f"preparing dataset {trial.data.name}")
            self.fingerprints[key] = prepare_data(trial.data)
            root = trial.data.root
            self.roots[key] = None if root is None else str(Path(root).resolve())  # a worker has another working folder


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


def find_executor(name: ExecutorName) -> Executor:
    """What trains a list of trials."""
    if name == "serial":
        from orchestrator.tuning import serial

        return serial.execute
    from orchestrator.tuning import ray_tune

    return ray_tune.execute


def find_session(name: ExecutorName) -> Session:
    """What keeps an executor ready from one list of trials to the next."""
    if name == "serial":
        return _no_session
    from orchestrator.tuning import ray_tune

    return ray_tune.connected


@contextmanager
def _no_session(settings: RunSettings) -> Iterator[None]:
    yield


def _forget(results: ResultsDir, trial: Trial) -> None:
    """Make a finished trial work to do again; what its attempts said stays."""
    folder = results.trial(trial.trial_id)
    durable.remove_file(folder.record_file)
    durable.remove_file(folder.probes_file)
    for made_in_training in (folder.checkpoints, folder.probes):
        durable.remove_folder(made_in_training)
