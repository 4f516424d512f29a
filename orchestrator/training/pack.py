"""Trials that differ in nothing but the seed, each asking for its next epoch, in; epochs trained for all at once out.

Each member has a generator like `loop.train`, and whoever drives it pulls one after the other. An epoch is trained once
every member asks for one: those that are furthest behind, together. So members that start at different places meet, and
nothing is trained for a member that its driver has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace

from orchestrator.errors import TrainingError
from orchestrator.record import EpochMetrics
from orchestrator.training.checkpoint import Checkpoint, CheckpointStore
from orchestrator.training.graphs import tell_why_not
from orchestrator.training.loop import Outcome, Settings, Trainer, never_stop
from orchestrator.training.probe_store import ProbeStore
from orchestrator.training.stacked_epoch import StackedEpochs
from orchestrator.trial import Trial


class UnpackedError(TrainingError):
    """The members of a pack cannot be trained together; each goes on alone, from its newest checkpoint."""


class Pack:
    """Trials that one process trains together.

    Args:
        trial_ids: of its members; each asks for epochs by and by, or leaves.
    """

    def __init__(self, trial_ids: set[str]) -> None:
        self._members = set(trial_ids)
        self._asking: dict[str, Trainer] = {}
        self._results: dict[str, EpochMetrics | Exception] = {}
        self._epochs = StackedEpochs()
        self._broken_by: str | None = None

    def leave(self, trial_id: str) -> None:
        """It asks no more, and nobody waits for it."""
        self._members.discard(trial_id)

    def trains(self, trial: Trial, asked: Trial) -> bool:
        """Whether `trial` goes on with the others; not in a broken pack, nor where memory that ran out changed it.

        Args:
            asked: the trial as it is to be trained.
        """
        if self._broken_by is not None or asked != trial:
            self.leave(trial.trial_id)
            return False
        return True

    def train(
        self,
        trial: Trial,
        *,
        settings: Settings | None = None,
        checkpoints: CheckpointStore | None = None,
        probes: ProbeStore | None = None,
        start_from: Checkpoint | None = None,
        should_stop: Callable[[], bool] = never_stop,
    ) -> Generator[EpochMetrics | None, None, Outcome]:
        """As `loop.train`; None while the other members have not asked for their epochs.

        Raises:
            UnpackedError: training the members together failed.
            OrchestratorError: as in `loop.train`.
        """
        settings = settings or Settings()
        if settings.graphs:
            tell_why_not("the seeds of a pack are trained in one pass, whose tensors come and go with its members")
        trainer = Trainer(trial, replace(settings, graphs=False), checkpoints, should_stop, probes)
        if start_from is not None:
            trainer.restore(start_from)
        while trainer.progress.epoch < trial.train.epochs + trial.train.cooldown_epochs:
            trainer.probe()
            row = yield from self._next_epoch(trainer)
            yield row
        self.leave(trial.trial_id)
        return trainer.finish()

    def _next_epoch(self, trainer: Trainer) -> Generator[None, None, EpochMetrics]:
        own = trainer.trial.trial_id
        self._asking[own] = trainer
        try:
            while own not in self._results:
                if self._broken_by is not None:
                    raise UnpackedError(f"seeds cannot be trained together here: {self._broken_by}")
                if self._results or len(self._asking) < len(self._members):
                    yield None
                else:
                    self._train_those_behind()
            result = self._results.pop(own)
        finally:
            del self._asking[own]
            self._results.pop(own, None)
        if isinstance(result, Exception):
            raise result
        return result

    def _train_those_behind(self) -> None:
        place = min(_place(trainer) for trainer in self._asking.values())
        trainers = [trainer for trainer in self._asking.values() if _place(trainer) == place]
        names = [trainer.trial.trial_id for trainer in trainers]
        if len(trainers) == 1:
            self._epochs.forget()
            try:
                self._results[names[0]] = trainers[0].run_epoch()
            except Exception as error:  # whose turn it is is chance; the one that it belongs to raises it
                self._results[names[0]] = error
            return
        try:
            self._results.update(zip(names, self._epochs.run(trainers), strict=True))
        except Exception as error:  # memory that ran out, or a user's code that torch.vmap does not take
            self._broken_by = f"{type(error).__name__}: {str(error).strip()}"
            self._epochs.forget()


def _place(trainer: Trainer) -> tuple[int, int]:
    return trainer.progress.epoch, trainer.progress.step
