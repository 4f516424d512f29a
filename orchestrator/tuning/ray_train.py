"""One trial on several processes, through Ray Train: an attempt as Tune's trainable runs it, epochs and the end out.

The trainable is a thin driver: it takes no CPU, starts a Train run of `resources.workers` processes and hands on what
the first of them says. That one runs the attempt and writes every file; the others only train. Nothing is taken from
Train's own results and it keeps no checkpoint. When a process dies Train ends the others, the driver raises, and Tune
starts it again, which goes on from the trial's files.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.errors import (
    DeviceLostError,
    DivergedError,
    DoesNotFitError,
    NotReadyError,
    OrchestratorError,
    StoppedError,
)
from orchestrator.failure import FailureKind
from orchestrator.grids.sweep_spec import Resources
from orchestrator.record import EpochMetrics, State
from orchestrator.trial import Trial
from orchestrator.tuning.events import RunSettings, TrialEnded, dataset_key
from orchestrator.tuning.failures import classify
from orchestrator.tuning.ray_environment import ray
from orchestrator.tuning.ray_fit import num_that_fit

HEAD = "node:__internal_head__"
"""Marks the head node. Ray Train itself needs a bit of it for each run, so a driver must take none."""
SMALLEST_BIT = 1e-4
"""Ray counts resources in ten thousandths."""
SECONDS_IN_A_COLLECTIVE = 1800
"""Longest wait for another process that is alive: the first one alone writes checkpoints and takes probes. The death of
one is noticed at once."""
SECONDS_TO_END = 60
BACKENDS = {False: "gloo", True: "cpu:gloo,cuda:nccl"}
"""By whether there are GPUs; the small words between processes are on the CPU in either case."""

log = logging.getLogger("orchestrator")


def driver_bundle(resources: Resources, nodes: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What Tune reserves for a driver: no CPU, and a part of the resource that bears the head node's address.

    Ray refuses a trial that takes nothing, and every node has one of its own address. The part is so large that no more
    drivers run than trials of these resources fit, else they would wait by the hundred.

    Args:
        nodes: as `ray.nodes()` tells them.
    """
    head = next(node["Resources"] for node in nodes if node["Alive"] and HEAD in node["Resources"])
    place = next(name for name in head if name.startswith("node:") and name != HEAD)
    tenthousandths = int(1.0 / SMALLEST_BIT / max(1, num_that_fit(resources, nodes)))
    return {"CPU": 0.0, place: max(1, tenthousandths) * SMALLEST_BIT}


def run_on_workers(trial: Trial, settings: RunSettings) -> Generator[EpochMetrics, None, TrialEnded]:
    """As `run_attempt`, on as many processes as the trial's resources say.

    Raises:
        ray.train.TrainingFailedError: a process died, or could not be started.
    """
    from ray.util.queue import Empty, Queue

    mailbox = Queue(actor_options={"num_cpus": 0})
    group = _Group(trial, settings, mailbox)
    group.start()
    try:
        while True:
            is_over = not group.is_alive()  # asked before the mailbox, so that the last letter is read
            try:
                letter = mailbox.get(timeout=1.0)
            except Empty:
                if is_over:
                    raise group.error or RuntimeError("the processes of the trial ended without a word") from None
                continue
            if isinstance(letter, TrialEnded):
                return letter
            yield letter
    finally:
        group.join(SECONDS_TO_END)
        mailbox.shutdown(force=True)


def ended_by(trial_id: str, error: OrchestratorError) -> TrialEnded:
    """What is told of a trial that an error kept from ending by itself."""
    if isinstance(error, NotReadyError):
        return TrialEnded(trial_id, State.WAITING, not_ready=str(error))
    return TrialEnded(trial_id, State.FAIL, error=str(error))


class _Group(threading.Thread):
    """A Train run: the processes that train one trial."""

    def __init__(self, trial: Trial, settings: RunSettings, mailbox: Any) -> None:
        super().__init__(name="ray-train", daemon=True)
        self.trial, self.settings, self.mailbox = trial, settings, mailbox
        self.error: Exception | None = None

    def run(self) -> None:
        scratch = tempfile.mkdtemp(prefix="orch-train-")
        try:
            self._trainer(scratch).fit()
        except Exception as error:  # the driver raises it
            self.error = error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _trainer(self, scratch: str) -> Any:
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig

        resources = self.settings.resources_of(self.trial)
        content = {"trial": self.trial.canonical(), "settings": self.settings, "mailbox": self.mailbox}
        return TorchTrainer(
            _work,
            train_loop_config=content,
            torch_config=TorchConfig(backend=BACKENDS[resources.gpus > 0], timeout_s=SECONDS_IN_A_COLLECTIVE),
            scaling_config=ScalingConfig(
                num_workers=resources.workers,
                use_gpu=resources.gpus > 0,
                resources_per_worker={"CPU": resources.cpus, "GPU": resources.gpus},
            ),
            run_config=RunConfig(  # type: ignore[arg-type]
                name=self.trial.trial_id,
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )


class _EndOfGroup(Exception):
    """Raised in the first process when its attempt is over and the others may still wait for it: Train ends them."""


def _work(content: Mapping[str, Any]) -> None:
    """What every process does."""
    rank = ray.train.get_context().get_world_rank()
    settings, mailbox = replace(content["settings"], rank=rank), content["mailbox"]
    trial = Trial.from_canonical(content["trial"])
    trial = Trial.from_canonical(content["trial"], root=settings.roots[dataset_key(trial)])
    try:
        if rank == 0:
            _lead(trial, settings, mailbox)
        else:
            _follow(trial, settings)
    except DeviceLostError:
        raise  # without a word, so that Tune starts the trial again
    except OrchestratorError as error:
        mailbox.put(ended_by(trial.trial_id, error))
        raise _EndOfGroup(str(error)) from error


def _lead(trial: Trial, settings: RunSettings, mailbox: Any) -> None:
    """The attempt, told epoch by epoch."""
    from orchestrator.tuning.attempt import run_attempt

    attempt, num_epochs = run_attempt(trial, settings), 0
    while True:
        try:
            mailbox.put(next(attempt))
            num_epochs += 1
        except StopIteration as stop:
            ended: TrialEnded = stop.value
            break
    mailbox.put(ended)
    if num_epochs == 0 or ended.state not in (State.COMPLETE, State.DIVERGED):
        raise _EndOfGroup(ended.error or ended.state)


def _follow(trial: Trial, settings: RunSettings) -> None:
    """The training alone; it ends with the first process, which tells how."""
    from orchestrator.training.loop import train
    from orchestrator.tuning.attempt_start import check_data, training_settings
    from orchestrator.tuning.fitting import beside_others

    check_data(trial, settings)
    try:
        for _ in train(trial, settings=training_settings(trial, settings)):
            pass
    except (DivergedError, StoppedError):
        pass
    except Exception as error:
        if classify(error) is not FailureKind.OUT_OF_MEMORY:
            raise
        told = str(error).strip().partition("\n")[0]
        raise DoesNotFitError(beside_others(settings.resources_of(trial).workers, told)) from error
