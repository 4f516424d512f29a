"""The parallel executor: Ray Tune on this machine or on a cluster.

A Tune experiment is disposable here: it is handed the trials that are missing, as one grid axis of ready-made
configurations, and forgotten at the end. Checkpoints, metrics and records are ours, so a worker that dies is started
again by Tune and goes on from our files. Workers are reused, because a small trial takes less time than the start of a
process. Tune runs in a thread, which leaves signals to the caller.
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import ClusterError, NotReadyError, OrchestratorError
from orchestrator.record import EpochMetrics, State
from orchestrator.trial import Trial
from orchestrator.tuning.events import EpochFinished, Event, RunSettings, TrialEnded, TrialStarted, dataset_key

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
for _name, _value in ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402  the environment above is read at import
from ray import tune  # noqa: E402

NUM_RESTARTS = 3
"""How often Tune starts a trial again whose worker died."""
SECONDS_TO_CONNECT = 10


class TuneTrial(tune.Trainable):
    """One trial as Tune sees it: a step is an epoch, the last step is the end."""

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        from orchestrator.tuning.attempt import run_attempt

        self.cleanup()
        trial = Trial.from_canonical(new_config["trial"], root=new_config["root"])
        self.trial_key = trial.trial_id
        self.attempt = run_attempt(trial, new_config["settings"])
        return True

    def step(self) -> dict[str, Any]:
        try:
            metrics = next(self.attempt)
        except StopIteration as stop:
            return {"orch_id": self.trial_key, "orch_event": stop.value, "done": True}
        except NotReadyError as error:
            waits = TrialEnded(self.trial_key, State.WAITING, not_ready=str(error))
            return {"orch_id": self.trial_key, "orch_event": waits, "done": True}
        except OrchestratorError as error:
            failed = TrialEnded(self.trial_key, State.FAIL, error=str(error))
            return {"orch_id": self.trial_key, "orch_event": failed, "done": True}
        return {"orch_id": self.trial_key, "orch_event": metrics, "done": False}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing: the trial's own checkpoints are in its folder."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Nothing: `reset_config` goes on from the trial's folder."""

    def cleanup(self) -> None:
        attempt = getattr(self, "attempt", None)
        if attempt is not None:
            attempt.close()


class _Relay(tune.Callback):
    """Hands what Tune hears to our queue."""

    def __init__(self, events: queue.Queue[Event | BaseException | None]) -> None:
        self.events = events

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks beside its own state, which nobody reads again; a queue cannot follow."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.events.put(TrialStarted(trial.config["trial_id"]))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        event = result.get("orch_event")
        if isinstance(event, EpochMetrics):
            self.events.put(EpochFinished(result["orch_id"], event))
        elif isinstance(event, TrialEnded):
            self.events.put(event)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        message = (
            f"its worker died {NUM_RESTARTS + 1} times; see `orch logs {trial.config['trial_id']}`, "
            "and Ray's own logs (by default in /tmp/ray/session_latest/logs) where it never began"
        )
        self.events.put(TrialEnded(trial.config["trial_id"], State.FAIL, error=message))


class _StopFile(tune.Stopper):
    """Ends the experiment once the stop file is there."""

    def __init__(self, settings: RunSettings) -> None:
        self.stop_file = settings.stop_file

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.stop_file.exists()


def execute(trials: Sequence[Trial], settings: RunSettings) -> Iterator[Event]:
    """Train `trials` in parallel, in the order given as places become free.

    Raises:
        ClusterError: Ray does not start, the cluster does not answer, or no node can hold a trial.
    """
    with connected(settings):
        _check_fits(trials, settings)
        scratch = tempfile.mkdtemp(prefix="orch-tune-")
        try:
            yield from _run_tune(trials, settings, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def connected(settings: RunSettings) -> Iterator[None]:
    """Ray for as long as the block runs; inside another such block it is there already.

    Raises:
        ClusterError: as `execute`.
    """
    if ray.is_initialized():
        yield
        return
    _connect(settings)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(settings: RunSettings) -> None:
    """Start Ray on this machine, or join the cluster that was named."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what matters comes back as an event or an exception
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    try:
        if settings.address is None:
            memory = 256 * 2**20  # trials share no objects, so the smallest store will do
            # "local", because without an address Ray joins whatever cluster already runs on this machine.
            ray.init("local", include_dashboard=False, object_store_memory=memory, ignore_reinit_error=False, **quiet)
        else:
            _check_answers(settings.address)
            ray.init(address=settings.address, **quiet)
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        where = f"the Ray cluster at {settings.address}" if settings.address else "Ray on this machine"
        hint = "; if it asks for a token, set RAY_AUTH_MODE and the token as on its nodes" if settings.address else ""
        raise ClusterError(f"cannot reach {where}: {error}{hint}") from error


def _check_answers(address: str) -> None:
    """Knock before Ray does, because Ray waits long at a closed door.

    Raises:
        ClusterError: nobody listens there.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"{address!r} is no cluster address; write HOST:PORT, ray://HOST:PORT or auto")
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address}: {error}; "
            "start one with `ray start --head`, or leave out --address to use this machine"
        ) from error


def _check_fits(trials: Sequence[Trial], settings: RunSettings) -> None:
    """Refuse what no node could ever hold; Ray would wait for ever.

    Raises:
        ClusterError: naming a trial and the nodes.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for trial in trials:
        needs = settings.resources_of(trial)
        if not any(n.get("CPU", 0) >= needs.cpus and n.get("GPU", 0) >= needs.gpus for n in nodes):
            sizes = "; ".join(sorted({f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in nodes}))
            raise ClusterError(
                f"trial {trial.label} asks for {needs.cpus:g} CPUs and {needs.gpus:g} GPUs (resources:), "
                f"and no node has that: {sizes}"
            )


def _placement(config: dict[str, Any]) -> tune.PlacementGroupFactory:
    return tune.PlacementGroupFactory([config["needs"]])


def _run_tune(trials: Sequence[Trial], settings: RunSettings, scratch: str) -> Iterator[Event]:
    events: queue.Queue[Event | BaseException | None] = queue.Queue()
    tuner = _build_tuner(trials, settings, scratch, events)

    def fit() -> None:
        try:
            tuner.fit()
        except BaseException as error:
            events.put(error)
        finally:
            events.put(None)

    thread = threading.Thread(target=fit, name="ray-tune", daemon=True)
    thread.start()
    while (event := events.get()) is not None:
        if isinstance(event, BaseException):
            raise ClusterError(f"Ray Tune stopped: {event}; `orch run` goes on from what is saved") from event
        yield event
    thread.join()


def _build_tuner(
    trials: Sequence[Trial],
    settings: RunSettings,
    scratch: str,
    events: queue.Queue[Event | BaseException | None],
) -> tune.Tuner:
    configs = [
        {
            "trial_id": trial.trial_id,
            "trial": trial.canonical(),
            "root": settings.roots[dataset_key(trial)],
            "needs": {"CPU": settings.resources_of(trial).cpus, "GPU": settings.resources_of(trial).gpus},
            "settings": settings,
        }
        for trial in trials
    ]
    return tune.Tuner(
        tune.with_resources(TuneTrial, _placement),
        param_space=tune.grid_search(configs),
        tune_config=tune.TuneConfig(reuse_actors=True, trial_dirname_creator=lambda trial: trial.trial_id),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=scratch,
            verbose=0,
            stop=_StopFile(settings),
            callbacks=[_Relay(events)],
            failure_config=tune.FailureConfig(max_failures=NUM_RESTARTS),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
