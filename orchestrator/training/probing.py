"""When a trial is probed, and on which images: a trial and its dataset in; moments in a `ProbeStore` out.

The untrained network and the final one always, chosen epochs between them. Probing draws from no random stream of the
training and moves none of its state, so it changes no number of the trial.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.grids.sweep_spec import Probe
from orchestrator.models import build_model
from orchestrator.models.vit import VisionTransformer
from orchestrator.seeding import stream_seed
from orchestrator.training.augment import eval_batches
from orchestrator.training.checkpoint import Progress
from orchestrator.training.data import Dataset
from orchestrator.training.loading import Batch
from orchestrator.training.probe_store import ProbeStore
from orchestrator.training.probes import batch_sizes, probe_model
from orchestrator.trial import Trial


@dataclass(frozen=True)
class Prober:
    """Probes one trial; a moment that is in the store already is not probed again."""

    trial: Trial
    plan: Probe
    store: ProbeStore
    data: Dataset
    device: torch.device

    def before_epoch(self, progress: Progress, model: VisionTransformer) -> None:
        """Probe what is due where the training stands: the untrained network, and `model` at a chosen epoch.

        Where a training goes on that was not probed at its start, the untrained network is built again.
        """
        is_between_epochs = progress.step == 0
        if not self.store.has(0):
            is_untrained = progress.epoch == 0 and is_between_epochs
            self._probe(model if is_untrained else build_model(self.trial).to(self.device), 0)
        if progress.epoch in self.plan.epochs and is_between_epochs and not self.store.has(progress.epoch):
            self._probe(model, progress.epoch)

    def final(self, model: VisionTransformer, epoch: int) -> None:
        """Probe the final model, and what each block is worth to it."""
        if not self.store.has(epoch):
            self._probe(model, epoch, num_skip_images=self.plan.skip_images)

    def _probe(self, model: VisionTransformer, epoch: int, *, num_skip_images: int = 0) -> None:
        arrays = probe_model(
            model,
            self._batches(self.plan.images),
            epoch=epoch,
            is_untrained=epoch == 0,
            skip_batches=self._batches(num_skip_images) if num_skip_images else (),
        )
        self.store.save(epoch, arrays)

    def _batches(self, num_images: int) -> Iterator[Batch]:
        """The first images of the probe's own order of the test split, without augmentation."""
        config = self.trial.model
        rows = probe_rows(len(self.data.test), num_images)
        num_tokens = (config.img_size // config.patch_size) ** 2 + 1
        sizes = batch_sizes(len(rows), config.depth, config.num_heads, num_tokens)
        for part in np.split(rows, np.cumsum(sizes)[:-1]):
            yield from eval_batches(self.data.test.take(part), self.data, self.trial, batch_size=len(part))


def probe_rows(num_test_images: int, num_images: int) -> NDArray[np.int64]:
    """Rows of the test split: the first `num_images` of a permutation that is the same for every trial."""
    generator = torch.Generator().manual_seed(stream_seed(0, "probe", num_test_images))
    rows: NDArray[np.int64] = torch.randperm(num_test_images, generator=generator)[:num_images].numpy()
    return rows
