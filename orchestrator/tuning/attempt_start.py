"""The claim of a trial in; what and where it goes on, what of it was other than asked, or why it must not, out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator import durable, provenance
from orchestrator.errors import DataError, UnfitNodeError
from orchestrator.failure import FailureKind
from orchestrator.lease import Lease
from orchestrator.record import Attempt
from orchestrator.results import ResultsDir, TrialFolder
from orchestrator.training.checkpoint import Checkpoint, CheckpointStore
from orchestrator.training.data import load_data
from orchestrator.training.device import pick_device, release_memory
from orchestrator.training.loop import Settings
from orchestrator.training.shards import Shards
from orchestrator.trial import Trial
from orchestrator.tuning.code_changes import Origin, find_changes, last_that_trained, refusal, remember_code
from orchestrator.tuning.events import RunSettings, dataset_key
from orchestrator.tuning.lost_starts import check_comes_further, has_stacks, is_lost

MICRO_BATCH = "micro-batch "

log = logging.getLogger("orchestrator")


@dataclass(frozen=True)
class Start:
    """Where an attempt begins."""

    checkpoint: Checkpoint | None
    """What it goes on from; None from the start."""
    micro_batch_size: int | None
    """What earlier attempts came down to; None for what the trial asks."""


def training_settings(trial: Trial, settings: RunSettings) -> Settings:
    """What this process trains on; each of those that train the trial together has its own."""
    resources = settings.resources_of(trial)
    device = pick_device(resources.gpus)
    if device == "cuda":
        release_memory()  # what the last trial of this process kept, a neighbour on the GPU may need
    return Settings(
        device=device,
        compile=resources.compile,
        graphs=resources.graphs is True,
        num_loader_workers=max(0, int(resources.cpus) - 1),
        code_fingerprint=provenance.code_fingerprint(),
        probe=settings.probe,
        shards=Shards(settings.rank, resources.workers),
    )


def begin(trial: Trial, settings: RunSettings, lease: Lease[Attempt], store: CheckpointStore) -> Start:
    """Clear what a crash left and write down what is trained, on what, and from where.

    Raises:
        SupersededError: another attempt has taken the trial over.
        GivenUpError: earlier attempts died at the same place again and again.
        ChangedCodeError: other code, libraries or data half trained it.
        ResultsError: the folder cannot be written.
        UnfitNodeError: this node of a cluster holds other data than the run is about.
    """
    check_data(trial, settings)
    results = ResultsDir(settings.results_root)
    folder = results.trial(trial.trial_id)
    for place in (folder.path, folder.checkpoints, folder.probes):
        lease.check()
        durable.remove_leftovers(place)
    checkpoint = store.load_newest()
    lease.check()
    durable.write_json(folder.trial_file, trial.canonical())
    remember_code(results)
    name = checkpoint.name if checkpoint else None
    data_fingerprint = settings.data_fingerprints[dataset_key(trial)]
    lease.update(started_from=name, data_fingerprint=data_fingerprint)
    claim = lease.claim
    log.info("trial %s (%s), attempt %d, on %s", trial.trial_id, trial.label, claim.number, claim.device)
    earlier = [_explained(folder, a) for a in folder.read_attempts() if a.number < claim.number]
    check_comes_further(earlier, claim.run, name)
    if checkpoint is None:
        return Start(None, None)
    return Start(checkpoint, _go_on(results, trial, settings, lease, earlier))


def check_data(trial: Trial, settings: RunSettings) -> None:
    """Refuse a node of a cluster that joined late and was given a trial before the driver had looked at it.

    Raises:
        UnfitNodeError: the dataset is not there, or is another one; names host and remedy.
    """
    if settings.address is None:
        return
    what = f"node {provenance.host()}: dataset {(trial.data.id or trial.data.name)!r}"
    where = f" at {trial.data.root}" if trial.data.root else ""
    remedy = "copy the files anew, or take the node out of the cluster; everything saved stays, go on with:"
    try:
        found = load_data(trial.data, trial.model.img_size).fingerprint
    except DataError as error:
        raise UnfitNodeError(f"{what}{where} cannot be read: {error}", f"{remedy} {settings.again}") from error
    asked = settings.data_fingerprints[dataset_key(trial)]
    if found != asked:
        raise UnfitNodeError(
            f"{what}{where} has other content (fingerprint {found} there, {asked} at the driver)",
            f"{remedy} {settings.again}",
        )


def mark_halved(trial: Trial, lease: Lease[Attempt], size: int) -> None:
    """Write down that the trial is trained with fewer images at a time than it asks.

    Raises:
        ResultsError, SupersededError: as `Lease.update`.
    """
    asked = trial.train.micro_batch_size or trial.train.batch_size
    told = f"{MICRO_BATCH}{size} in place of {asked}, because memory ran out; the optimizer's batch is unchanged"
    log.warning("%s", told)
    others = [text for text in lease.claim.deviations if not text.startswith(MICRO_BATCH)]
    lease.update(micro_batch_size=size, deviations=(*others, told))


def _go_on(
    results: ResultsDir, trial: Trial, settings: RunSettings, lease: Lease[Attempt], earlier: Sequence[Attempt]
) -> int | None:
    """Hold this process against what trained the trial so far; the micro-batch that was come down to."""
    claim, before = lease.claim, last_that_trained(earlier)
    if before is None:
        return None
    changes = find_changes(results, Origin.of(before), Origin.of(claim))
    if changes and not settings.allow_code_change:
        raise refusal({trial.trial_id: changes})
    trained = _since_start(earlier)
    told = dict.fromkeys(text for attempt in trained for text in attempt.deviations)
    if changes:
        told[f"went on from {claim.started_from} after a change of: {'; '.join(changes)}"] = None
    if before.device != claim.device:
        told[f"went on from {claim.started_from} on {claim.device}, before on {before.device}"] = None
    sizes = [attempt.micro_batch_size for attempt in trained if attempt.micro_batch_size is not None]
    size = min(sizes, default=None)
    if told or size is not None:
        lease.update(deviations=tuple(told), micro_batch_size=size)
    return size


def _since_start(earlier: Sequence[Attempt]) -> list[Attempt]:
    """The attempts since the last one that began at the start, without those that were refused.

    One that died before it wrote down where it starts did not begin anywhere.
    """
    fresh = [index for index, a in enumerate(earlier) if a.started_from is None and a.data_fingerprint is not None]
    since = earlier[fresh[-1] :] if fresh else earlier
    return [attempt for attempt in since if attempt.failure != FailureKind.CHANGED_CODE]


def _explained(folder: TrialFolder, attempt: Attempt) -> Attempt:
    """The attempt; one that left stacks and no word was ended because it hung."""
    if not is_lost(attempt) or attempt.failure is not None or not has_stacks(folder, attempt.number):
        return attempt
    log.warning("attempt %d made no step any more; its stacks: %s", attempt.number, folder.stack_file(attempt.number))
    return replace(attempt, failure=FailureKind.HUNG.value)
