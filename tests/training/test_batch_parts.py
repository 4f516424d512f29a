from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orchestrator.errors import TrainingError
from orchestrator.seeding import stream_seed
from orchestrator.training.augment import train_batches
from orchestrator.training.batch_parts import batch_parts
from orchestrator.training.data import load_data
from orchestrator.training.randomness import seeded_globals
from orchestrator.training.recipe import build_mixup
from orchestrator.training.shards import ALONE, Shards
from orchestrator.trial import Trial

CPU = torch.device("cpu")


def test_rows_lie_where_the_images_will_be() -> None:
    batch = batch_parts(64, None, Shards(1, 2), torch.device("meta"), is_mixed=True)
    (part,) = batch.parts
    assert isinstance(part.rows, torch.Tensor)
    assert part.rows.device.type == "meta"
    assert batch.positions is not None
    assert batch.positions.device == CPU


def test_alone_a_batch_is_taken_in_consecutive_micro_batches() -> None:
    batch = batch_parts(64, 24, ALONE, CPU, is_mixed=True)
    assert batch.positions is None
    assert [(part.rows, part.num_own, part.num_images) for part in batch.parts] == [
        (slice(0, 24), 24, 24),
        (slice(24, 48), 24, 24),
        (slice(48, 64), 16, 16),
    ]


@pytest.mark.parametrize("is_mixed", [False, True])
@pytest.mark.parametrize(("num_images", "micro_batch_size", "size"), [(64, None, 2), (64, 24, 3), (63, 10, 3)])
def test_every_micro_batch_is_divided_over_the_processes(
    num_images: int, micro_batch_size: int | None, size: int, is_mixed: bool
) -> None:
    whole = torch.arange(num_images)
    expected = whole.split(micro_batch_size or num_images)
    batches = [batch_parts(num_images, micro_batch_size, Shards(r, size), CPU, is_mixed=is_mixed) for r in range(size)]
    for index, micro_batch in enumerate(expected):
        own = [whole[batch.positions][batch.parts[index].rows] for batch in batches]
        assert torch.equal(torch.cat(own), micro_batch)
        assert [len(rows) for rows in own] == [batch.parts[index].num_own for batch in batches]
        assert {batch.parts[index].num_images for batch in batches} == {len(micro_batch)}


def test_without_mixing_a_process_reads_only_its_own_images() -> None:
    assert [len(batch_parts(64, 16, Shards(r, 4), CPU, is_mixed=False).positions) for r in range(4)] == [16] * 4


def test_a_forward_pass_with_fewer_images_than_processes_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"1 images cannot be shared by 2 processes; .*resources\.workers to 1"):
        batch_parts(64, 21, Shards(0, 2), CPU, is_mixed=False)


@pytest.mark.parametrize("changes", [{"crop_padding": 1}, {"auto_augment": "rand-m5-n1"}], ids=["pixels", "PIL"])
def test_shares_hold_what_the_batch_holds_mixing_included(tiny_trial: Trial, changes: dict) -> None:
    trial = replace(tiny_trial, train=replace(tiny_trial.train, batch_size=600, mixup=0.4, cutmix=1.0, **changes))
    data = load_data(trial.data, trial.model.img_size)
    mixup = build_mixup(trial.train, 10, 600)
    assert mixup is not None
    (whole, *_) = train_batches(data, trial, 1)
    images, targets = mix(mixup, *whole)
    for rank in range(3):
        share = batch_parts(600, None, Shards(rank, 3), CPU, is_mixed=True)
        (read, *_) = train_batches(data, trial, 1, positions=share.positions)
        own_images, own_targets = mix(mixup, *read)
        rows = share.parts[0].rows
        assert torch.equal(own_images[rows], images[200 * rank : 200 * (rank + 1)])
        assert torch.equal(own_targets[rows], targets[200 * rank : 200 * (rank + 1)])


def mix(mixup, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with seeded_globals(stream_seed(0, "mixup", 1, 0)):
        return mixup(images.clone(), labels)
